import socket
import threading
import time
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from .running import everything, multipart, opener, picture, running


def _head(path="/api/remove", **headers) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: test", "Content-Type: image/png"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def _request(body: bytes, kind: str) -> bytes:
    head = f"POST /api/remove HTTP/1.1\r\nHost: test\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _is_hung_up_on(connection: socket.socket) -> bool:
    """Waits for it."""
    try:
        return connection.recv(65536) == b""
    except ConnectionResetError:
        return True


def test_a_body_that_says_it_is_too_long_is_refused_before_any_of_it_is_sent(place):
    connection = place.connect()
    connection.sendall(_head(Content_Length=10**9))
    assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_waits_for_leave_to_send_gets_the_refusal_alone(place):
    connection = place.connect()
    connection.sendall(_head(Content_Length=10**9, Expect="100-continue"))
    assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_is_refused_at_the_limit():
    with running(max_bytes=100_000) as place:
        connection = place.connect()
        connection.sendall(_head(Transfer_Encoding="chunked"))
        sent = 0
        connection.settimeout(0.001)
        answer = b""
        while not answer and sent < 50_000_000:
            try:
                answer = connection.recv(65536)
            except TimeoutError:
                connection.settimeout(60)
                connection.sendall(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
                connection.settimeout(0.001)
                sent += 0x8000
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert sent < 10_000_000


def test_a_client_that_sends_on_still_sees_why_it_was_refused():
    with running(max_bytes=100_000) as place:
        reply = place.ask("POST", "/api/remove", b"x" * 3_000_000, {"Content-Type": "image/png"})
    assert reply.status == 413
    assert reply.headers["connection"] == "close"


def test_a_body_of_the_largest_length_is_taken():
    data = picture()
    with running(max_bytes=len(data)) as place:
        assert place.post("/api/remove", {"file": data}).status == 200
        assert place.post("/api/remove", {"file": data + b"x"}).status == 413


def test_a_body_that_dawdles_is_408():
    with running(read_timeout_s=0.3) as place:
        connection = place.connect()
        connection.sendall(_head(Content_Length=1000) + b"x")
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_a_body_that_drips_is_408_though_it_never_stops():
    with running(read_timeout_s=0.5) as place:
        connection = place.connect()
        connection.sendall(_head(Content_Length=1000))
        connection.settimeout(0.05)
        answer, start = b"", time.monotonic()
        while not answer and time.monotonic() - start < 30:
            connection.sendall(b"x")
            with suppress(TimeoutError):
                answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_head_that_never_ends_is_hung_up_on():
    with running(read_timeout_s=0.3) as place:
        connection = place.connect()
        connection.sendall(b"POST /api/remove HTTP/1.1\r\nHost: t")
        assert _is_hung_up_on(connection)


def test_the_head_of_a_second_request_may_not_dawdle_either():
    with running(read_timeout_s=0.3) as place:
        connection = place.connect()
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(65536)
        connection.sendall(b"GET /healthz HT")
        assert _is_hung_up_on(connection)


def test_connections_past_the_limit_are_closed():
    with running(max_connections=2) as place:
        kept = [place.connect() for _ in range(2)]
        for connection in kept:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n")
            assert connection.recv(65536)
        assert _is_hung_up_on(place.connect())


def test_those_who_dawdle_are_in_nobodys_way():
    with running(read_timeout_s=30.0) as place:
        for _ in range(50):
            place.connect().sendall(_head(Content_Length=1000) + b"x")
        assert [place.post("/api/remove", {"file": picture()}).status for _ in range(10)] == [200] * 10


def test_an_answer_that_takes_too_long_is_504():
    gate = threading.Event()

    def waiting(batch):
        if batch.any():  # not at the beginning
            gate.wait(30)
        return everything(batch)

    with running(opener(waiting), timeout_s=0.3) as place:
        reply = place.post("/api/remove", {"file": picture()})
        gate.set()
    assert reply.status == 504
    assert "retry-after" in reply.headers


def test_work_for_clients_that_have_gone_is_given_up():
    entered, gate, num_run = threading.Event(), threading.Event(), []

    def waiting(batch):
        if batch.any():
            num_run.append(len(batch))
            entered.set()
            gate.wait(30)
        return everything(batch)

    body, kind = multipart({"file": picture()})
    with running(opener(waiting), pool=2, queue=300, max_batch=1) as place:
        for index in range(200):
            connection = place.connect()
            connection.sendall(_request(body, kind))
            if index == 0:
                assert entered.wait(30)
        _until(lambda: _figure(place, "u2net_pictures") == 200)
        for connection in place.connections:
            connection.close()
        _until(lambda: _figure(place, "u2net_pictures") <= 2)
        gate.set()
        _until(lambda: _figure(place, "u2net_pictures") == 0)
        assert place.post("/api/remove", {"file": picture()}).status == 200
        text = place.get("/metrics").body.decode()
    assert sum(num_run) <= 3  # the one that ran, perhaps one that had been decoded, and the last
    assert 'code="499"' in text


def test_a_full_queue_is_429_before_the_body_is_read():
    entered, gate = threading.Event(), threading.Event()

    def waiting(batch):
        if batch.any():
            entered.set()
            gate.wait(30)
        return everything(batch)

    with running(opener(waiting), pool=1, queue=1) as place:
        threads = [threading.Thread(target=place.post, args=("/api/remove", {"file": picture()})) for _ in range(2)]
        for thread in threads:
            thread.start()
        _until(lambda: _figure(place, "u2net_pictures") == 2)
        connection = place.connect()
        connection.sendall(_head(Content_Length=1000))
        refused = connection.recv(65536)
        ready = place.get("/readyz")
        gate.set()
        for thread in threads:
            thread.join()
    assert refused.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nretry-after: " in refused.lower()
    assert ready.status == 503


def test_a_client_that_takes_nothing_is_hung_up_on():
    body, kind = multipart({"file": _noise()})
    with running(read_timeout_s=1.0, min_rate=10**9) as place:
        _slow_reader(place).sendall(_request(body, kind))
        _until(lambda: _figure(place, "u2net_request_seconds_count", '{route="/api/remove"}') == 1)
        assert place.service.answers.free == place.service.config.bodies_at_once


def _noise() -> bytes:
    """A picture of which no format makes a short file."""
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _slow_reader(place) -> socket.socket:
    """A connection whose client takes 4 KB, and no more until it reads."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", place.port))
    place.connections.append(connection)
    return connection


def _until(holds, seconds=60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def _figure(place, name, labels="") -> float:
    lines = place.get("/metrics").body.decode().splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"{name}{labels} ")), 0.0)


def test_an_answer_from_a_file_ends_without_complaint(place, caplog):
    assert place.get("/style.css").status == 200
    assert place.get("/healthz").status == 200
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_slow_uploads_hold_room_for_what_came_and_no_more(place):
    for _ in range(30):
        place.connect().sendall(_head(Content_Length=20_000_000) + b"x" * 200_000)
    _until(lambda: _figure(place, "u2net_requests_in_flight") == 31)
    large = picture((500, 400), kind="BMP")
    assert place.post("/api/remove", {"file": large}).status == 200


def test_the_slowest_upload_is_ended_when_there_is_too_little_room(monkeypatch):
    monkeypatch.setattr("u2net.server.room._START_S", 0.0)
    large = picture((500, 400), kind="BMP")
    with running(max_bytes=len(large), bodies_at_once=len(large) + 70_000) as place:
        slow = _half_sent(place, large)
        assert place.post("/api/remove", {"file": large}).status == 200
        refused = slow.recv(65536)
    assert refused.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nretry-after: " in refused.lower()


def test_while_requests_wait_for_room_it_is_not_ready_and_small_ones_pass(monkeypatch):
    monkeypatch.setattr("u2net.server.service._HURRY", 0)  # nobody is too slow
    large = picture((500, 400), kind="BMP")
    with running(max_bytes=len(large), bodies_at_once=len(large) + 70_000) as place:
        slow = _half_sent(place, large)
        waiting = threading.Thread(target=place.post, args=("/api/remove", {"file": large}))
        waiting.start()
        _until(lambda: place.service.bodies.is_short)
        ready, small = place.get("/readyz").status, place.post("/api/remove", {"file": picture()}).status
        slow.close()
        waiting.join()
        assert place.get("/readyz").status == 200
    assert (ready, small) == (503, 200)


def _half_sent(place, body) -> socket.socket:
    """An upload that has come so far that it has the reserve of room."""
    connection = place.connect()
    connection.sendall(_head(Content_Length=len(body)) + body[: len(body) // 2])
    _until(lambda: place.service.bodies._owner is not None)
    return connection


def test_the_slowest_reader_is_ended_when_there_is_too_little_room(monkeypatch):
    monkeypatch.setattr("u2net.server.room._START_S", 0.0)
    body, kind = multipart({"file": _noise()})
    with running(max_bytes=8_000_000, bodies_at_once=9_000_000, read_timeout_s=60.0) as place:
        _slow_reader(place).sendall(_request(body, kind))
        _until(lambda: place.service.answers.moving and place.service.answers.free < 4_000_000)
        assert place.ask("POST", "/api/remove", body, {"Content-Type": kind}).status == 200
        _until(lambda: place.service.answers.free == 9_000_000)


@pytest.mark.parametrize("path", ["/api/remove", "/nowhere"])
def test_a_body_in_chunks_of_a_byte_is_refused(place, path):
    connection = place.connect()
    connection.sendall(_head(path, Transfer_Encoding="chunked") + b"1\r\nx\r\n" * 20_000)
    assert _all_of(connection)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 404")


def test_a_body_in_small_chunks_is_taken(place):
    data = picture((50, 50), kind="BMP")
    parts = [data[start : start + 64] for start in range(0, len(data), 64)]
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts]
    connection = place.connect()
    connection.sendall(_head(Transfer_Encoding="chunked") + b"".join(chunks) + b"0\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", ["/healthz", "/api/remove"])
def test_what_follows_a_body_with_two_lengths_is_no_request(place, path):
    connection = place.connect()
    connection.sendall(_head(path, Content_Length=4, Transfer_Encoding="chunked"))
    connection.sendall(b"0\r\n\r\nGET /version HTTP/1.1\r\nHost: t\r\n\r\n")
    answer = _all_of(connection)
    assert b"\r\nconnection: close\r\n" in answer.lower()
    assert answer.count(b"HTTP/1.1 ") == 1


def _all_of(connection: socket.socket) -> bytes:
    """What comes until it is hung up on."""
    received = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    return received
