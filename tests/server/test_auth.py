import hashlib

import pytest
from needs import needs_links

from u2net.server.auth import Bucket, Keys
from u2net.server.config import ServerConfig

from .running import picture, running


def _sum(key):
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture(scope="module")
def guarded():
    with running(api_keys=(f"shop:{_sum('one')}", f"blog:{_sum('two')}"), key_rate=0.001, key_burst=3) as guarded:
        yield guarded


@pytest.mark.parametrize("headers", [{"X-Api-Key": "one"}, {"x-api-key": "two"}, {"Authorization": "Bearer two"}])
def test_a_key_opens(guarded, headers):
    assert guarded.post("/api/remove", {"file": picture()}, **headers).status == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-Api-Key": "wrong"}, {"X-Api-Key": ""}, {"X-Api-Key": _sum("one")}, {"Authorization": "Basic one"}],
)
def test_nothing_else_does(guarded, headers):
    reply = guarded.post("/api/remove", {"file": picture()}, **headers)
    assert reply.status == 401
    assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/api/mask", "/v1.0/removebg"])
def test_every_endpoint_that_works_asks_for_it(guarded, path):
    assert guarded.post(path, {"file": picture()}).status == 401


def test_the_service_tells_of_itself_without_a_key(guarded):
    assert [guarded.get(path).status for path in ("/healthz", "/readyz", "/metrics", "/version")] == [200] * 4


def test_a_key_that_comes_too_often_is_429():
    with running(api_keys=(f"shop:{_sum('one')}", f"blog:{_sum('two')}"), key_rate=0.001, key_burst=2) as place:
        replies = [place.post("/api/remove", {"file": picture()}, **{"X-Api-Key": "one"}) for _ in range(3)]
        other = place.post("/api/remove", {"file": picture()}, **{"X-Api-Key": "two"})
    assert [reply.status for reply in replies] == [200, 200, 429]
    assert int(replies[2].headers["retry-after"]) > 100
    assert other.status == 200


def test_a_bucket_fills_with_time():
    now = [0.0]
    bucket = Bucket(rate=2.0, burst=2, clock=lambda: now[0])
    assert [bucket.take() for _ in range(3)] == [0, 0, 0.5]
    now[0] = 0.5
    assert bucket.take() == 0
    now[0] = 1000.0
    assert [bucket.take() > 0 for _ in range(3)] == [False, False, True]


def test_no_rate_is_no_limit():
    bucket = Bucket(rate=0.0, burst=1, clock=lambda: 0.0)
    assert {bucket.take() for _ in range(10)} == {0.0}


@pytest.mark.parametrize("start", ["# those of the shop", "\ufeff# by an editor of Windows", "  # indented"])
def test_keys_may_lie_in_a_file(tmp_path, start):
    file = tmp_path / "keys"
    file.write_text(f"{start}\n\nshop:{_sum('one')}\n", encoding="utf-8")
    with running(api_keys_file=str(file)) as place:
        assert place.post("/api/remove", {"file": picture()}, **{"X-Api-Key": "one"}).status == 200


def test_a_key_that_is_not_a_sum_is_not_repeated_in_the_error(tmp_path):
    file = tmp_path / "keys"
    file.write_text("shop:secret\n")
    with pytest.raises(ValueError, match="SHA256") as caught:
        Keys(ServerConfig(api_keys_file=str(file)))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b" \n\t\r\n", b"# shop\n#blog\n", b"\xef\xbb\xbf", "shop:0".encode("utf-16"), b"# caf\xe9\n", b"\0"],
)
def test_a_file_without_a_key_does_not_serve_everyone(tmp_path, content):
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="key"):
        Keys(ServerConfig(api_keys=(f"shop:{_sum('one')}",), api_keys_file=str(file)))


@pytest.mark.parametrize("kind", ["folder", pytest.param("link to nothing", marks=needs_links), "may not be read"])
def test_nor_does_a_file_that_cannot_be_read(tmp_path, kind, monkeypatch):
    file = tmp_path / "keys"
    if kind == "folder":
        file.mkdir()
    elif kind == "link to nothing":
        file.symlink_to(tmp_path / "gone")
    else:

        def refuse(path, **_):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr("pathlib.Path.read_text", refuse)  # root may read everything
    with pytest.raises(ValueError, match=r"keys in .* cannot be read"):
        Keys(ServerConfig(api_keys_file=str(file)))


@pytest.mark.parametrize("name", ["API_KEYS", "API_KEYS_FILE"])
@pytest.mark.parametrize("value", ["", "  ", " , ,"])
def test_nor_does_a_variable_that_is_set_but_empty(name, value):
    with pytest.raises(ValueError, match=f"U2NET_SERVE_{name} is set, but empty"):
        ServerConfig.from_environment({f"U2NET_SERVE_{name}": value})


def test_nor_does_an_option_that_is_empty():
    with pytest.raises(ValueError, match="api_keys_file"):
        ServerConfig(api_keys_file="")


def test_the_sum_of_an_empty_key_is_refused():
    with pytest.raises(ValueError, match="empty key"):
        ServerConfig(api_keys=(f"shop:{_sum('')}",))
