"""What browsers' pages, curl and programs send as they please."""

import socket

import pytest

from u2net.server import ServerConfig

from .running import multipart, opener, picture, running

SHOP = "https://shop.example"


@pytest.fixture(scope="module")
def shared():
    """A service that pages of one origin may call."""
    with running(cors_origins=(SHOP,), max_bytes=100_000) as shared:
        yield shared


def _preflight(place, origin=SHOP, method="POST", headers="x-api-key"):
    asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return place.ask("OPTIONS", "/api/remove", headers=asked)


def test_pages_of_a_named_origin_may_send_pictures_and_read_answers(shared):
    asked = _preflight(shared)
    assert asked.status == 200
    assert asked.headers["access-control-allow-origin"] == SHOP
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert "X-Api-Key" in asked.headers["access-control-allow-headers"]
    reply = shared.post("/api/remove", {"file": picture()}, Origin=SHOP)
    assert reply.image().mode == "RGBA"
    assert reply.headers["access-control-allow-origin"] == SHOP
    assert "X-Width" in reply.headers["access-control-expose-headers"]
    assert "Origin" in reply.headers["vary"]


@pytest.mark.parametrize("origin", ["https://evil.example", "http://shop.example", f"{SHOP}:8443", "null"])
def test_pages_of_other_origins_get_no_leave(shared, origin):
    assert "access-control-allow-origin" not in _preflight(shared, origin).headers
    assert "access-control-allow-origin" not in shared.get("/version", Origin=origin).headers


def test_pages_may_read_why_they_are_refused(shared):
    replies = [
        shared.get("/nowhere", Origin=SHOP),
        shared.post("/api/remove", {"file": b"hello"}, Origin=SHOP),
        shared.post("/api/remove", {"file": bytes(1_000_000)}, Origin=SHOP),
    ]
    assert [reply.status for reply in replies] == [404, 415, 413]
    assert {reply.headers.get("access-control-allow-origin") for reply in replies} == {SHOP}


def test_pages_may_read_of_faults_of_the_service():
    def network(batch):
        if batch.any():
            raise RuntimeError
        return batch[:, :1]

    with running(opener(network), cors_origins=(SHOP,)) as place:
        reply = place.post("/api/remove", {"file": picture()}, Origin=SHOP)
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (500, SHOP)


def test_what_may_not_be_sent_is_refused_beforehand(shared):
    assert _preflight(shared, method="DELETE").status == 400
    refused = _preflight(shared, headers="x-other")
    assert refused.status == 400
    assert refused.json()["request_id"] == refused.headers["x-request-id"]


def test_a_preflight_has_the_limits_and_headers_of_every_request(shared):
    assert _preflight(shared).headers["x-request-id"]
    connection = shared.connect()
    head = f"OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: {SHOP}\r\nAccess-Control-Request-Method: POST\r\n"
    connection.sendall(f"{head}Content-Length: 1000000\r\n\r\n".encode())
    connection.shutdown(socket.SHUT_WR)
    answer = b""
    while received := connection.recv(65536):
        answer += received
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize(
    "origin", ["*", "shop.example", "https://shop.example/", "https://Shop.example", "https://shop.example:443"]
)
def test_an_origin_that_no_browser_would_name_is_refused(origin):
    with pytest.raises(ValueError, match="cors_origins must be like"):
        ServerConfig(cors_origins=(origin,))


@pytest.mark.parametrize("origin", ["http://localhost:3000", "https://[::1]:8443", "capacitor://localhost"])
def test_origins_of_programs_that_hold_a_page_are_taken(origin):
    assert ServerConfig(cors_origins=(origin,)).cors_origins == (origin,)


def test_head_has_the_headers_of_get_and_no_body(place):
    described = place.get("/openapi.json").json()["paths"]
    paths = {path for path, methods in described.items() if "get" in methods}
    assert {"/healthz", "/readyz", "/metrics", "/version"} <= paths
    for path in (*paths, "/", "/style.css", "/openapi.json"):
        got, asked = place.get(path), place.ask("HEAD", path)
        assert (asked.status, asked.headers["content-type"]) == (200, got.headers["content-type"]), path
        assert asked.body == b""
        if path != "/metrics":
            assert asked.headers["content-length"] == got.headers["content-length"], path
    assert b'route="/version"' in place.get("/metrics").body


def test_head_is_refused_where_get_is(place):
    assert place.ask("HEAD", "/nowhere").status == 404
    assert place.ask("HEAD", "/api/mask").status == 405


def test_head_of_a_picture_by_its_url(monkeypatch):
    async def fetched(*_):
        return picture()

    monkeypatch.setattr("u2net.server.api.fetch", fetched)
    with running(fetch_hosts=("a.example",)) as place:
        reply = place.ask("HEAD", "/api/remove?url=http://a.example/a.png")
    assert (reply.status, reply.headers["content-type"], reply.body) == (200, "image/png", b"")


TYPES = {
    "what curl --data-binary sends": {"Content-Type": "application/x-www-form-urlencoded"},
    "none": {},
    "one that is wrong": {"Content-Type": "text/plain;charset=UTF-8"},
    "one of a storage": {"Content-Type": "binary/octet-stream"},
}


@pytest.mark.parametrize("headers", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("path", ["/api/remove", "/api/mask", "/v1.0/removebg"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_picture_as_the_body_is_known_whatever_its_type(place, path, headers, kind):
    reply = place.ask("POST", path, picture((8, 6), kind=kind), headers)
    assert reply.status == 200
    assert reply.image().size == (8, 6)


@pytest.mark.parametrize("headers", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("body", [b"", b"hello", b"{}"])
def test_a_body_of_any_type_that_is_no_picture_is_refused(place, headers, body):
    assert place.ask("POST", "/api/remove", body, headers).status in (400, 415)


def test_a_picture_that_curl_mangled_is_refused_with_the_option_that_does_not(place):
    mangled = picture(kind="JPEG").translate(None, b"\0\r\n")
    reply = place.ask("POST", "/api/remove", mangled, {"Content-Type": "application/x-www-form-urlencoded"})
    assert reply.status == 400
    assert "--data-binary" in reply.json()["detail"]


def test_a_form_without_its_boundary_is_told_to_leave_the_type_to_the_client(place):
    reply = place.ask("POST", "/api/remove", multipart({"file": picture()})[0], {"Content-Type": "multipart/form-data"})
    assert reply.status == 415
    assert "do not set Content-Type" in reply.json()["detail"]


def test_a_url_where_nothing_is_fetched_is_told_the_option(place):
    url = "http://example.com/a.png"
    replies = [place.get(f"/api/remove?url={url}"), place.post("/v1.0/removebg", {"image_url": url})]
    assert [reply.status for reply in replies] == [405, 403]
    assert all("--fetch-hosts" in reply.json()["detail"] for reply in replies)
    assert replies[0].headers["allow"] == "POST"
