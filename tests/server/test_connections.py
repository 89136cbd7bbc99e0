import logging
import socket
import time

import pytest

from u2net.server import connections
from u2net.server.config import ServerConfig
from u2net.server.connections import max_connections

from .running import running

POST = b"POST /api/remove HTTP/1.1\r\nHost: t\r\nContent-Type: image/png\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
NO_HTTP = {
    "no text": (b"\x16\x03\x01\x02\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "a length that is none": (POST + b"Content-Length: x\r\n\r\n", 400),
    "a chunk that is none": (POST + CHUNKED + b"ZZ\r\n", 400),
    "a head without end": (b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000, 431),
    "a coding that is unknown": (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    "after a good request": (b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n\x00\r\n\r\n", 400),
}


def _said(place, data):
    """All that comes back until the connection ends."""
    connection = place.connect()
    connection.sendall(data)
    return b"".join(iter(lambda: connection.recv(2**16), b""))


@pytest.mark.parametrize("what", NO_HTTP)
def test_what_is_no_http_gets_a_document_as_all_others(place, what, caplog):
    caplog.set_level(logging.INFO)
    data, status = NO_HTTP[what]
    head, _, body = _said(place, data).rpartition(b"\r\n\r\n")
    head = head.rpartition(b"HTTP/1.1 ")[2].decode()
    headers = dict(line.split(": ", 1) for line in head.lower().splitlines()[1:])
    assert head.startswith(str(status))
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["connection"] == "close"
    assert f'"request_id": "{headers["x-request-id"]}"' in body.decode()
    told = [record.facts for record in caplog.records if getattr(record, "facts", {}).get("status") == status]
    assert [facts["request_id"] for facts in told] == [headers["x-request-id"]]
    assert not [record for record in caplog.records if record.levelno > logging.WARNING]


def test_a_head_request_that_turns_out_to_be_none_is_no_fault_of_the_service(place, caplog):
    said = _said(place, b"HEAD / HTTP/1.1\r\nHost: t\r\n" + CHUNKED + b"ZZ\r\n")
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.endswith(b"\r\n\r\n")
    assert not [record for record in caplog.records if record.levelno > logging.WARNING]


def _is_open(connection):
    connection.settimeout(0.2)
    try:
        return connection.recv(1) != b""
    except TimeoutError:
        return True
    except ConnectionResetError:
        return False


@pytest.mark.parametrize("first", [b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n"])
def test_those_that_say_nothing_keep_nobody_out(first):
    with running(max_connections=4) as place:
        silent = []
        for _ in range(6):
            silent.append(place.connect())
            silent[-1].sendall(first)
            if first.endswith(b"\r\n\r\n"):
                while silent[-1].recv(1) != b"}":
                    pass
        assert place.get("/healthz").status == 200
        deadline = time.monotonic() + 10
        while len(place.server.server_state.connections) > 4:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert [_is_open(connection) for connection in silent][:2] == [False, False]
        assert _is_open(silent[-1])


def test_a_request_that_is_being_sent_is_not_ended_for_others():
    with running(max_connections=4) as place:
        busy = [place.connect() for _ in range(4)]
        for connection in busy:
            connection.sendall(POST + b"Content-Length: 100\r\n\r\nabc")
        while place.service.num_in_flight < 4:
            time.sleep(0.01)
        assert not _is_open(place.connect())
        assert all(map(_is_open, busy))


@pytest.mark.parametrize(("allowed", "expected"), [(None, 1024), (10_000, 1024), (1024, 880), (100, 1)])
def test_no_more_connections_are_kept_than_the_system_allows(allowed, expected, monkeypatch, caplog):
    monkeypatch.setattr(connections, "allow_open_files", lambda _num: allowed)
    assert max_connections(ServerConfig()) == expected
    assert [record.levelname for record in caplog.records] == ["WARNING"] * (expected < 1024)


def test_not_all_that_wait_are_accepted_before_the_first_is_counted():
    with running(max_connections=2) as place:
        assert place.server.config.backlog == connections.ACCEPTED_AT_ONCE
        waiting = [socket.socket() for _ in range(300)]  # the system keeps them: none is refused
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", place.port))
            assert place.get("/healthz").status == 200
        finally:
            for one in waiting:
                one.close()
