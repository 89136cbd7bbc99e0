"""`u2net serve` and `rembg s`, started, asked and loaded."""

import http.client
import math
import os
import queue
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image
from sides import forget_peak, memory_mib

PHOTOGRAPH = Path(__file__).parents[1] / "docs/images/coffee.jpg"
SIZES = {"600 × 400": (600, 400), "1800 × 1200": (1800, 1200), "4000 × 3000": (4000, 3000)}


@dataclass
class Server:
    """One of them, running."""

    name: str
    pid: int
    port: int

    @property
    def processes(self) -> list[int]:
        """The service's own and its children, which are its workers where it has several."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii").split()
        return [self.pid, *map(int, children)]

    def mib(self, field: str) -> float:
        """Memory of all processes: VmRSS now, VmHWM at its most."""
        return sum(memory_mib(field, pid) for pid in self.processes)

    def largest_mib(self, field: str) -> float:
        """That of the largest process."""
        return max(memory_mib(field, pid) for pid in self.processes)

    def forget_peak(self) -> None:
        """Begin VmHWM anew."""
        for pid in self.processes:
            forget_peak(pid)

    def cpu_seconds(self) -> float:
        """Of the processor, of all processes, so far."""
        stats = [Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2] for pid in self.processes]
        return sum(int(ticks) for stat in stats for ticks in stat.split()[11:13]) / os.sysconf("SC_CLK_TCK")

    def ask(self, body: bytes, kind: str, connection: http.client.HTTPConnection | None = None) -> tuple[int, bytes]:
        """Status and content of an answer, 0 if there was none."""
        connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        try:
            connection.request("POST", "/api/remove", body, {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return 0, b""


@dataclass
class Round:
    """What one load gave."""

    per_s: float
    p50_s: float
    p99_s: float
    cpu_s: float
    """Of the processor, for a request."""


@contextmanager
def ours(*options: str, model: str = "u2netp") -> Iterator[Server]:
    """With its defaults, but for time, since a busy machine must not make answers 504, and for theirs' model."""
    options = ("--models", model, "--timeout-s", "600", "--log-level", "warning", *options)
    with started("u2net", [sys.executable, "-m", "u2net", "serve", *options], os.environ) as server:
        yield server


@contextmanager
def theirs(python: str, home: Path) -> Iterator[Server]:
    """With its defaults, and the same model where it looks for models."""
    from u2net.models.zoo import resolve

    shutil.copy(resolve("u2netp"), home / "u2netp.onnx")
    command = [str(Path(python).parent / "rembg"), "s", "--no-ui", "--host", "127.0.0.1"]
    with started("rembg", command, os.environ | {"U2NET_HOME": str(home), "MODEL_CHECKSUM_DISABLED": "1"}) as server:
        yield server


@contextmanager
def started(name: str, command: list[str], environment: dict[str, str]) -> Iterator[Server]:
    """A process that answers, until the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*command, "--port", str(port)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                if process.poll() is not None:
                    raise SystemExit(f"{name} did not start") from None
                time.sleep(0.1)
        yield Server(name, process.pid, port)
    finally:
        process.kill()
        process.wait()


# ---- What they are asked ----------------------------------------------------------------------------------------


def photograph(size: tuple[int, int]) -> bytes:
    """The demo photograph at another size, as JPEG."""
    buffer = BytesIO()
    Image.open(PHOTOGRAPH).resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def form(picture: bytes, **fields: str) -> tuple[bytes, str]:
    """A form that both understand, and its content type."""
    head = b"--b\r\nContent-Disposition: form-data; name="
    parts = [head + f'"{name}"\r\n\r\n{value}\r\n'.encode() for name, value in ({"model": "u2netp"} | fields).items()]
    parts += [head + b'"file"; filename="a"\r\n\r\n', picture, b"\r\n--b--\r\n"]
    return b"".join(parts), "multipart/form-data; boundary=b"


def load(server: Server, body: bytes, kind: str, num: int, concurrency: int) -> Round:
    """So many requests from so many clients, which keep their connections; all must be answered."""
    pending: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(num):
        pending.put(index)
    seconds: list[float] = []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
        while True:
            try:
                pending.get_nowait()
            except queue.Empty:
                break
            start = time.perf_counter()
            status, _ = server.ask(body, kind, connection)
            assert status == 200, f"{server.name} answered {status}"
            seconds.append(time.perf_counter() - start)
        connection.close()

    clients = [threading.Thread(target=client) for _ in range(concurrency)]
    used, start = server.cpu_seconds(), time.perf_counter()
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    elapsed = time.perf_counter() - start
    assert len(seconds) == num, f"{server.name} left {num - len(seconds)} unanswered"
    seconds.sort()
    p99 = seconds[math.ceil(0.99 * num) - 1]
    return Round(num / elapsed, statistics.median(seconds), p99, (server.cpu_seconds() - used) / num)
