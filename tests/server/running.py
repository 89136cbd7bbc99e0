"""A service in a thread of the test, a small client, and networks that need no time."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
from PIL import Image

from u2net.inference.session import Session
from u2net.models.card import Card
from u2net.models.transform import Transform
from u2net.server.app import new_app
from u2net.server.config import ServerConfig
from u2net.server.process import Server, listen, new_server
from u2net.server.service import Service

QUICK = {"port": 0, "pool": 4, "max_batch": 8, "drain_delay_s": 0.0, "read_timeout_s": 5.0}


def everything(batch):
    """A network that takes all for the subject."""
    return np.ones((len(batch), 1, *batch.shape[2:]), dtype=np.float32)


def opener(backend=everything, card=None):
    """What opens models that are this function; without a card they take squares of 64 pixels, which costs little."""

    def open_model(name, *, runtime, threads):
        return Session(backend, card or Card(name, Transform(size=(64, 64))))

    return open_model


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)

    def image(self) -> Image.Image:
        image = Image.open(BytesIO(self.body))
        image.load()
        return image


@dataclass
class Running:
    port: int
    server: Server
    service: Service
    connections: list[socket.socket] = field(default_factory=list)

    def ask(self, method, path, body=None, headers=None, timeout=60) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path, **headers) -> Reply:
        return self.ask("GET", path, headers=headers)

    def post(self, path, parts, **headers) -> Reply:
        body, kind = multipart(parts)
        return self.ask("POST", path, body, {"Content-Type": kind, **headers})

    def connect(self) -> socket.socket:
        """A bare connection, closed at the end of the test."""
        self.connections.append(socket.create_connection(("127.0.0.1", self.port), timeout=60))
        return self.connections[-1]


@contextmanager
def running(open_model=None, **settings) -> Iterator[Running]:
    """A service with these settings, until the end of the block."""
    config = ServerConfig(**{**QUICK, **settings})
    app = new_app(config, open_model or opener())
    bound = listen(config)
    server = new_server(app, config)
    thread = threading.Thread(target=server.run, args=([bound],))
    thread.start()
    place = Running(bound.getsockname()[1], server, app.state.service)
    try:
        while not server.started and thread.is_alive():
            thread.join(0.01)
        yield place
    finally:
        for connection in place.connections:
            connection.close()
        server.should_exit = True
        thread.join(60)
        bound.close()
    assert not thread.is_alive()


def multipart(parts) -> tuple[bytes, str]:
    """A body of fields (str) and files (bytes), a dict or pairs; and its content type."""
    boundary = "----u2net-test"
    lines = []
    for name, value in parts.items() if isinstance(parts, dict) else parts:
        is_file = isinstance(value, bytes)
        filename = '; filename="a.png"' if is_file else ""
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'
        lines += [head.encode(), value if is_file else value.encode(), b"\r\n"]
    return b"".join([*lines, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"


def picture(size=(8, 6), color=(200, 60, 30), kind="PNG") -> bytes:
    buffer = BytesIO()
    Image.new("RGB", size, color).save(buffer, kind)
    return buffer.getvalue()
