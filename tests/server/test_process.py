import os
import re
import signal
import socket
import threading
import time

import pytest
from needs import NO_SIGNALS, ON_WINDOWS

pytest.importorskip("onnx")
if ON_WINDOWS:
    pytest.skip(NO_SIGNALS, allow_module_level=True)

from prometheus_client import values

from u2net.server import process
from u2net.server.config import ServerConfig
from u2net.server.monitoring import SHARED, Metrics, name_metrics, renew_metrics

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


class _Worker:
    """A process as a supervisor sees it, which ends when it is asked to, or has ended by itself."""

    end_code = 0

    def __init__(self, exitcode=None):
        self.exitcode = exitcode
        self.sentinel, self._end = os.pipe()
        if exitcode is not None:
            os.close(self._end)

    def is_alive(self):
        return self.exitcode is None

    def terminate(self):
        if self.exitcode is None:
            os.close(self._end)
            self.exitcode = self.end_code


@pytest.fixture
def supervise(monkeypatch):
    """Run a supervisor whose workers are these, one after the other; the last one is started together with SIGTERM."""
    monkeypatch.setattr(process, "_PAUSE_S", 0)
    ends = socket.socketpair()
    monkeypatch.setattr(process.socket, "socketpair", lambda: ends)
    former = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]

    def run(*workers):
        supervisor = process._Supervisor(ServerConfig(workers=2), None)
        coming = list(workers)

        def start(_worker):
            if len(coming) == 1:
                supervisor._signals.append(signal.SIGTERM)
            if isinstance(worker := coming.pop(0), Exception):
                raise worker
            return worker

        monkeypatch.setattr(supervisor, "_start", start)
        with pytest.raises(SystemExit) as ended:
            supervisor.run()
        return ended.value.code

    yield run
    signal.set_wakeup_fd(-1)
    for end in ends:
        end.close()
    for pair in former:
        signal.signal(*pair)


@pytest.mark.parametrize(
    ("code", "word"),
    [(-signal.SIGKILL, "memory"), (-signal.SIGBUS, "TMPDIR"), (1, "lines"), (-signal.SIGSEGV, "egment")],
)
def test_a_worker_that_dies_at_once_ends_the_service_with_a_word(supervise, caplog, code, word):
    other = _Worker()
    assert supervise(_Worker(code), other, _Worker()) == 1
    assert other.exitcode == 0
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert word in caplog.records[0].facts["cause"]


def test_a_worker_that_dies_beside_one_that_works_is_replaced(supervise, caplog, monkeypatch):
    monkeypatch.setattr(process, "_YOUNG_S", 0)
    assert supervise(_Worker(1), _Worker(), OSError(28, "No space left on device"), _Worker()) == 0
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert told[0] == ("WARNING", "a process ended by itself, and is replaced")
    assert told[1] == ("ERROR", "a process cannot be replaced: No space left on device")


@pytest.mark.parametrize(
    ("code", "expected"), [(-signal.SIGTERM, 0), (128 + signal.SIGTERM, 0), (-signal.SIGKILL, 1), (1, 1)]
)
def test_a_worker_that_was_not_ready_ends_well_by_the_signal(supervise, code, expected):
    unready = _Worker()
    unready.end_code = code
    assert supervise(_Worker(), unready) == expected


def test_a_service_that_cannot_start_all_its_workers_keeps_none(supervise):
    first = _Worker()
    with pytest.raises(OSError, match="No space"):
        supervise(first, OSError(28, "No space left on device"), _Worker())
    assert first.exitcode == 0


def test_what_nobody_expected_at_the_start_is_in_the_log(monkeypatch, caplog):
    def fail(_config):
        raise RuntimeError("a runtime of its own mind")

    for name in ("configure_logs", "bound_heaps"):
        monkeypatch.setattr(process, name, lambda *_: None)
    monkeypatch.setattr(process.sys, "setswitchinterval", lambda _: None)
    monkeypatch.setattr(process, "new_app", fail)
    with pytest.raises(SystemExit, match="1"):
        process.serve(ServerConfig(), None)
    assert "of its own mind" in caplog.records[0].getMessage()
    assert caplog.records[0].exc_info


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """A folder where several processes keep their metrics."""
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)  # what is set meanwhile is undone
    monkeypatch.setenv(SHARED, str(tmp_path))
    opened, open_file = [], values.MmapedDict

    def note(*arguments):
        opened.append(open_file(*arguments))
        return opened[-1]

    monkeypatch.setattr(values, "MmapedDict", note)
    yield tmp_path
    for file in opened:
        file.close()


def _metrics():
    """Those of a worker that has just begun."""
    renew_metrics(0)
    name_metrics(0)
    return Metrics()


def test_what_a_killed_worker_was_at_is_forgotten_and_what_it_has_counted_is_kept(shared):
    killed = _metrics()
    killed.in_flight.inc(8)
    killed.requests.labels("none", 400).inc(3)
    assert b"u2net_requests_in_flight 8.0" in killed.text()
    successor = _metrics()
    successor.requests.labels("none", 400).inc()
    assert b"u2net_requests_in_flight 0.0" in successor.text()
    assert b'u2net_requests_total{code="400",route="none"} 4.0' in successor.text()
    assert len(list(shared.iterdir())) == 4


def test_the_room_of_metrics_is_taken_before_a_worker_begins(shared, monkeypatch):
    renew_metrics(0)
    sizes = {path.stat().st_size for path in shared.iterdir()}
    metrics = _metrics()
    for route in range(50):
        metrics.request_seconds.labels(f"/a-route-of-the-service/{route}").observe(1)
    assert {path.stat().st_size for path in shared.iterdir()} == sizes

    def fill(path, content):
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", fill)
    with pytest.raises(OSError, match="No space"):
        renew_metrics(1)
    assert not list(shared.glob("*_1.db"))


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
