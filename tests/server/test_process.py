import os
import re
import signal
import socket
import threading
import time

import pytest

pytest.importorskip("onnx")

from .processes import serving, tiny_model
from .running import multipart, picture


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"))


def _in_flight(place, num):
    """Threads whose requests have come, but whose bodies have not ended; and what makes them go on."""
    body, kind = multipart({"file": picture((640, 480))})
    head = f"POST /api/remove HTTP/1.1\r\nHost: t\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    connections = [place.connect() for _ in range(num)]
    for connection in connections:
        connection.sendall(head.encode() + body[:-10])
    while f"u2net_requests_in_flight {num + 1}.0" not in place.get("/metrics").body.decode():
        time.sleep(0.02)

    def go_on():
        for connection in connections:
            connection.sendall(body[-10:])
        return [_answered(connection) for connection in connections]

    return go_on


def _answered(connection):
    """The status of an answer, 0 if it did not come whole."""
    received = b""
    while part := connection.recv(2**20):
        received += part
        head, _, rest = received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if length and len(rest) == int(length[1]):
            return int(head.split()[1])
    return 0


def drain(model, num):
    """Statuses of those in flight at SIGTERM, what others get meanwhile, the exit code and the seconds it took."""
    with serving("--models", model, "--drain-delay-s", "0.5") as place:
        go_on = _in_flight(place, num)
        place.process.send_signal(signal.SIGTERM)
        start = time.monotonic()
        while (ready := place.get("/readyz").status) == 200:
            assert time.monotonic() - start < 10
        refused = place.post("/api/remove", {"file": picture()})
        answered = go_on()
        for connection in place.connections:
            connection.close()  # for which it would wait
        return answered, ready, refused.status, place.process.wait(60), time.monotonic() - start


def test_at_sigterm_what_was_begun_is_finished_and_what_is_new_refused(model):
    answered, ready, refused, code, _ = drain(model, 8)
    assert answered == [200] * 8
    assert (ready, refused, code) == (503, 503, 0)


def test_a_second_sigterm_ends_it_at_once(model):
    with serving("--models", model) as place:
        _in_flight(place, 1)
        place.process.send_signal(signal.SIGTERM)
        while place.get("/readyz").status == 200:
            pass
        place.process.send_signal(signal.SIGTERM)
        code = place.process.wait(60)
    assert code == 128 + signal.SIGTERM


def test_several_processes_share_a_port_and_add_up_their_figures(model):
    with serving("--models", model, "--workers", "2", "--drain-delay-s", "0") as place:
        threads = [threading.Thread(target=place.post, args=("/api/remove", {"file": picture()})) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        total, deadline = 'u2net_requests_total{code="200",route="/api/remove"} 20.0', time.monotonic() + 10
        while total not in (text := place.get("/metrics").body.decode()) and time.monotonic() < deadline:
            time.sleep(0.05)  # a request is counted when its answer has gone
        place.process.send_signal(signal.SIGTERM)
        code = place.process.wait(60)
        messages = {line["message"] for line in place.lines()}
    assert total in text
    assert code == 0
    assert messages == {"ready", "request", "ending"}


def test_processes_end_when_their_supervisor_was_killed(model):
    with serving("--models", model, "--workers", "2", "--drain-delay-s", "0") as place:
        while sum(line["message"] == "ready" for line in place.lines()) < 2:
            time.sleep(0.05)
        place.process.kill()
        deadline = time.monotonic() + 30
        while _listens(place.port):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        messages = [line["message"] for line in place.lines()]
    assert messages.count("ending: the process that looked after this one is gone") == 2


def _listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.slow
def test_a_process_that_dies_is_replaced(model):
    with serving("--models", model, "--workers", "2", "--drain-delay-s", "0") as place:
        time.sleep(6)  # younger ones are taken for ones that cannot start
        first = next(line["process"] for line in place.lines() if line["message"] == "ready")
        os.kill(first, signal.SIGKILL)
        while sum(line["message"] == "ready" for line in place.lines()) < 3:
            time.sleep(0.1)
        assert place.get("/readyz").status == 200
        place.process.send_signal(signal.SIGTERM)
        assert place.process.wait(60) == 0
