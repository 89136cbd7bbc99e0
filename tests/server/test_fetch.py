import asyncio
import os
import threading
from ipaddress import ip_address

import pytest

from u2net.server.fetch import fetch, is_public, read_url
from u2net.server.problems import Problem

from .running import picture, running

PUBLIC = "93.184.216.34"


class Stage:
    """A network whose hosts have these addresses, one list after the other, and whose servers say these words."""

    def __init__(self, addresses=None, said=(), pause_s=0.0):
        self.addresses = {host: list(lists) for host, lists in (addresses or {}).items()}
        self.said = list(said)
        self.pause_s = pause_s
        self.connected = []

    async def resolve(self, host, port):
        lists = self.addresses.get(host, [[PUBLIC]])
        return lists.pop(0) if len(lists) > 1 else lists[0]

    async def connect(self, address, port, tls_host):
        self.connected.append((address, port, tls_host))
        reader = asyncio.StreamReader()
        reader.feed_data(self.said.pop(0))
        if not self.pause_s:
            reader.feed_eof()
        return reader, _Writer()


class _Writer:
    def write(self, data):
        assert data.startswith(b"GET /")

    def close(self):
        pass


def _answer(body=b"picture", head=b"200 OK", *headers):
    lines = [b"HTTP/1.1 " + head, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


async def _take_room(_num_bytes):
    pass


def _fetch(url, stage, hosts=("*",), max_bytes=1000):
    return asyncio.run(fetch(url, hosts, max_bytes, _take_room, stage))


def _refusal(url, stage=None, **given):
    with pytest.raises(Problem) as caught:
        _fetch(url, stage or Stage(), **given)
    return caught.value.status


def test_what_is_behind_a_url():
    stage = Stage(said=[_answer()])
    assert _fetch("https://Example.com./a.png?b=c#d", stage) == b"picture"
    assert stage.connected == [(PUBLIC, 443, "example.com")]


NO_URLS = [
    "",
    "example.com/a.png",
    "//example.com/a.png",
    "ftp://example.com/a.png",
    "file:///etc/passwd",
    "gopher://example.com/",
    "data:image/png;base64,AAAA",
    "http://user@example.com/",
    "http://user:secret@example.com/",
    "http://example.com@127.0.0.1/",
    "http://example.com:80@127.0.0.1/",
    "http://example.com\\@127.0.0.1/",
    "http://example.com:8080/",
    "https://example.com:80/",
    "http://example.com:99999/",
    "http://example.com:/",
    "http:///a.png",
    "http://exa mple.com/",
    "http://example.com/a b",
    "http://example.com/\r\nHost: other",
    "http://example.com\t/",
    "http://example..com/",
    "http://-example.com/",
    "http://%31%32%37.0.0.1/",
    "http://[::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[not:an:address]/",
    "http://１２７.０.０.１/",
    "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/",
    "http://bücher.example/",
    "http://example.com/" + "a" * 3000,
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://017700000001/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://127.0.0.0x1/",
    "http://1.2.3.4.5/",
    "http://256.1.1.1/",
]


@pytest.mark.parametrize("url", NO_URLS)
def test_what_is_no_plain_url_is_400(url):
    assert _refusal(url) == 400


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.0.0.1./",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://169.254.169.254/",
    ],
)
def test_addresses_that_are_not_public_are_403(url):
    assert _refusal(url) == 403


@pytest.mark.parametrize(
    ("host", "hosts", "is_allowed"),
    [
        ("example.com", ("example.com",), True),
        ("EXAMPLE.com", ("example.com",), True),
        ("example.com.", ("example.com",), True),
        ("a.example.com", ("example.com",), False),
        ("a.example.com", (".example.com",), True),
        ("example.com", (".example.com",), False),
        ("badexample.com", ("example.com", ".example.com"), False),
        ("example.com.bad.com", ("example.com", ".example.com"), False),
        ("example.com", (), False),
        ("example.com", ("*",), True),
    ],
)
def test_hosts_must_be_on_the_list(host, hosts, is_allowed):
    if is_allowed:
        assert read_url(f"http://{host}/", hosts).port == 80
    else:
        assert _refusal(f"http://{host}/", hosts=hosts) == 403


def test_a_host_with_one_address_that_is_not_public_is_refused_whole():
    stage = Stage({"example.com": [[PUBLIC, "127.0.0.1"]]})
    assert _refusal("http://example.com/", stage) == 403
    assert stage.connected == []


def test_the_address_that_was_checked_is_the_one_connected_to():
    # A name that is public when it is asked for and 127.0.0.1 at the second time.
    stage = Stage({"example.com": [[PUBLIC], ["127.0.0.1"]]}, [_answer()])
    assert _fetch("http://example.com/", stage) == b"picture"
    assert stage.connected == [(PUBLIC, 80, None)]


def _redirect(location):
    return _answer(b"", b"302 Found", b"Location: " + location)


def test_redirections_are_followed():
    stage = Stage(said=[_redirect(b"/b.png"), _redirect(b"https://other.org/c.png"), _answer()])
    assert _fetch("http://example.com/a.png", stage) == b"picture"
    assert stage.connected[-1] == (PUBLIC, 443, "other.org")


def test_a_name_that_rebinds_between_redirections_is_refused():
    stage = Stage({"example.com": [[PUBLIC], ["127.0.0.1"]]}, [_redirect(b"/again")])
    assert _refusal("http://example.com/", stage) == 403
    assert len(stage.connected) == 1


@pytest.mark.parametrize(
    ("location", "status"),
    [
        (b"http://127.0.0.1/", 403),
        (b"http://169.254.169.254/latest/meta-data/", 403),
        (b"//[::1]/", 403),
        (b"http://0x7f.1/", 400),
        (b"file:///etc/passwd", 400),
        (b"http://user@example.com/", 400),
        (b"http://elsewhere.org/", 403),
        (b"http://[", 422),
        (b"http://[::1", 422),
    ],
)
def test_redirections_are_checked_like_urls(location, status):
    assert _refusal("http://example.com/", Stage(said=[_redirect(location)]), hosts=("example.com",)) == status


def test_after_three_redirections_it_is_enough():
    assert _refusal("http://example.com/", Stage(said=[_redirect(b"/")] * 4)) == 422


@pytest.mark.parametrize(
    "said",
    [
        _answer(head=b"404 Not Found"),
        _answer(head=b"204 No Content"),
        _answer(b"x", b"200 OK", b"Content-Encoding: gzip"),
        _answer(b"x" * 1001),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + 3 * (b"1f4\r\n" + b"x" * 500 + b"\r\n") + b"0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
        b"nonsense\r\n\r\n",
        b"",
    ],
    ids=["404", "204", "gzip", "too long", "too long in chunks", "cut short", "long head", "nonsense", "nothing"],
)  # fmt: skip
def test_what_gives_no_picture_is_422(said):
    assert _refusal("http://example.com/", Stage(said=[said])) == 422


def test_one_byte_less_than_too_much_is_taken():
    assert _fetch("http://example.com/", Stage(said=[_answer(b"x" * 1000)])) == b"x" * 1000


def test_a_host_that_dawdles_is_504(monkeypatch):
    monkeypatch.setattr("u2net.server.fetch._TOTAL_S", 0.05)
    assert _refusal("http://example.com/", Stage(said=[b"HTTP/1.1 200 OK\r\n"], pause_s=1)) == 504


def test_proxies_of_the_environment_are_not_asked(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setitem(os.environ, name, "http://127.0.0.1:1")
    stage = Stage(said=[_answer()])
    _fetch("http://example.com/", stage)
    assert stage.connected == [(PUBLIC, 80, None)]


def test_the_service_fetches_where_it_is_allowed(monkeypatch):
    stage = Stage(said=[_answer(picture((5, 4)))])
    monkeypatch.setattr("u2net.server.fetch.Internet", lambda: stage)
    with running(fetch_hosts=("example.com",)) as place:
        reply = place.get("/api/remove?url=http://example.com/a.png&om=true")
        refused = [place.get(f"/api/remove?url={url}").status for url in ("http://other.org/", "http://127.0.0.1/", "")]
    assert reply.image().size == (5, 4)
    assert refused == [403, 403, 400]


def test_pictures_that_are_sent_and_fetched_do_not_wait_for_each_other(monkeypatch):
    behind = picture((100, 100), kind="BMP")
    stage = Stage(said=[_answer(behind)] * 10)
    monkeypatch.setattr("u2net.server.fetch.Internet", lambda: stage)
    parts = {"image_file": picture((230, 200), kind="BMP"), "bg_image_url": "http://example.com/a.bmp"}
    statuses = []
    with running(fetch_hosts=("example.com",), max_bytes=200_000, bodies_at_once=500_000, timeout_s=20.0) as place:
        clients = [
            threading.Thread(target=lambda: statuses.append(place.post("/v1.0/removebg", parts).status))
            for _ in range(10)
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        assert place.service.bodies.free == 500_000 - place.service.config.max_body
    assert statuses == [200] * 10


def test_what_is_fetched_and_what_is_sent_have_one_limit_together(monkeypatch):
    stage = Stage(said=[_answer(picture((200, 200), kind="BMP"))])
    monkeypatch.setattr("u2net.server.fetch.Internet", lambda: stage)
    parts = {"image_file": picture((230, 200), kind="BMP"), "bg_image_url": "http://example.com/a.bmp"}
    with running(fetch_hosts=("example.com",), max_bytes=200_000) as place:
        assert place.post("/v1.0/removebg", parts).status == 422


class _Partly(Stage):
    """A network of which some addresses do not answer."""

    async def connect(self, address, port, tls_host):
        if address in ("93.184.216.1", "93.184.216.2"):
            self.connected.append(address)
            if address == "93.184.216.2":
                await asyncio.sleep(60)
            raise OSError
        return await super().connect(address, port, tls_host)


def test_an_address_that_does_not_answer_is_followed_by_the_next(monkeypatch):
    monkeypatch.setattr("u2net.server.fetch._CONNECT_S", 0.3)
    stage = _Partly({"example.com": [["93.184.216.1", "93.184.216.2", PUBLIC]]}, [_answer()])
    assert _fetch("http://example.com/", stage) == b"picture"
    assert stage.connected == ["93.184.216.1", "93.184.216.2", (PUBLIC, 80, None)]


def test_where_no_address_answers_nothing_is_fetched():
    assert _refusal("http://example.com/", _Partly({"example.com": [["93.184.216.1", "93.184.216.1"]]})) == 422


def test_a_host_that_answers_in_chunks_of_a_byte_is_refused():
    said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 900 + b"0\r\n\r\n"
    assert _refusal("http://example.com/", Stage(said=[said])) == 422


# Each is an address that a service must not be made to connect to, with why. After the IANA registries, and the ways
# in which IPv6 carries IPv4 addresses (RFC 4291, 6052, 3056, 4380, 5214, 8215).
NOT_PUBLIC = {
    "0.0.0.0": "this host",
    "0.1.2.3": "this network",
    "10.0.0.1": "private",
    "10.255.255.255": "private, the last",
    "100.64.0.1": "shared by a provider's customers",
    "100.100.100.200": "a cloud's metadata",
    "100.127.255.255": "shared, the last",
    "127.0.0.1": "loopback",
    "127.1.2.3": "loopback",
    "127.255.255.255": "loopback, the last",
    "169.254.0.1": "link-local",
    "169.254.169.254": "clouds' metadata",
    "169.254.170.2": "a container's credentials",
    "172.16.0.1": "private",
    "172.31.255.255": "private, the last",
    "192.0.0.1": "IETF protocols",
    "192.0.0.8": "IPv4 dummy",
    "192.0.0.170": "NAT64 discovery",
    "192.0.0.192": "a cloud's metadata",
    "192.0.2.1": "documentation",
    "192.88.99.1": "6to4 relays",
    "192.168.0.1": "private",
    "192.168.255.255": "private, the last",
    "198.18.0.1": "benchmarks",
    "198.19.255.255": "benchmarks, the last",
    "198.51.100.1": "documentation",
    "203.0.113.1": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast, the last",
    "240.0.0.1": "reserved",
    "255.255.255.254": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "::2": "IPv4-compatible",
    "::127.0.0.1": "IPv4-compatible loopback",
    "::10.0.0.1": "IPv4-compatible private",
    "::8.8.8.8": "IPv4-compatible, withdrawn",
    "::ffff:127.0.0.1": "mapped loopback",
    "::ffff:10.0.0.1": "mapped private",
    "::ffff:169.254.169.254": "mapped metadata",
    "::ffff:100.64.0.1": "mapped shared",
    "::ffff:0:127.0.0.1": "translated (SIIT)",
    "64:ff9b::127.0.0.1": "NAT64 loopback",
    "64:ff9b::10.0.0.1": "NAT64 private",
    "64:ff9b::169.254.169.254": "NAT64 metadata",
    "64:ff9b:1::1": "local NAT64",
    "64:ff9b:1::8.8.8.8": "local NAT64",
    "64:ff9b:1:ffff::127.0.0.1": "local NAT64 loopback",
    "100::1": "discarded",
    "100:0:0:1::1": "dummy prefix",
    "2001::1": "Teredo",
    "2001:0:4136:e378:8000:63bf:80ff:fffe": "Teredo of 127.0.0.1",
    "2001:2::1": "benchmarks",
    "2001:10::1": "ORCHID",
    "2001:20::1": "ORCHIDv2",
    "2001:db8::1": "documentation",
    "2002:7f00:1::": "6to4 loopback",
    "2002:a00:1::": "6to4 private",
    "2002:a9fe:a9fe::": "6to4 metadata",
    "2002:c0a8:1::1": "6to4 private",
    "3fff::1": "documentation",
    "5f00::1": "segment routing",
    "2600::5efe:127.0.0.1": "ISATAP loopback",
    "2600::200:5efe:10.0.0.1": "ISATAP private",
    "4000::1": "not given out",
    "fc00::1": "unique local",
    "fd00:ec2::254": "a cloud's metadata",
    "fdff:ffff::1": "unique local",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local with a zone",
    "2600::1%1": "a zone",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
}
PUBLIC_ADDRESSES = [
    *("8.8.8.8", "1.1.1.1", "93.184.216.34", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1"),
    *("2606:4700::1111", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"),
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_what_is_not_public_is_refused(address):
    assert not is_public(ip_address(address)), NOT_PUBLIC[address]


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_what_is_public_is_not(address):
    assert is_public(ip_address(address))
