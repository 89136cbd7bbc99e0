"""Fetching pictures by URL without being made to reach what only this machine can reach (CWE-918, OWASP's SSRF).

Hosts are on a list; a host is resolved once, every address it has must be public, and the connection goes to the
address that was checked. Redirects are new URLs. Proxies of the environment are not used.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import urljoin

import h11

from u2net import __version__
from u2net.server.addresses import is_public
from u2net.server.problems import Problem

_CONNECT_S, _TOTAL_S = 5.0, 10.0
_MAX_REDIRECTS = 3
_MAX_URL, _MAX_HEAD = 2048, 16 * 1024
_PORTS = {"http": 80, "https": 443}
# No user, no zone, no escapes, no other alphabets (their names can be given in ASCII, as xn--…).
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?(?P<rest>[/?][!-\[\]-~]*)?",
    re.ASCII | re.IGNORECASE,
)


class Network(Protocol):
    """The way out."""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a host. Raises OSError."""

    async def connect(
        self, address: str, port: int, tls_host: str | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to an address, with TLS for a host if one is given. Raises OSError."""


class Internet:
    """The real one."""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """By the system's resolver."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=1)
        return [str(entry[4][0]) for entry in found]

    async def connect(
        self, address: str, port: int, tls_host: str | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """TCP, and TLS that checks the certificate against the host's name."""
        context = ssl.create_default_context() if tls_host else None
        return await asyncio.open_connection(address, port, ssl=context, server_hostname=tls_host)


@dataclass(frozen=True)
class Target:
    """Where a URL leads."""

    scheme: str
    host: str
    path: str

    @property
    def port(self) -> int:
        """The scheme's own; others are refused."""
        return _PORTS[self.scheme]


async def fetch(url: str, hosts: Sequence[str], max_bytes: int, network: Network | None = None) -> bytes:
    """The content behind a URL whose host is one of `hosts`: a name, .name for all below it, or * for any.

    Raises Problem: 400 for a URL of another kind, 403 for a host or address that is refused, 422 where nothing is to be
    had, or too much, 504 after 10 seconds.
    """
    network = network or Internet()
    try:
        async with asyncio.timeout(_TOTAL_S):
            for _ in range(_MAX_REDIRECTS + 1):
                content = await _visit(read_url(url, hosts), max_bytes, network)
                if isinstance(content, bytes):
                    return content
                url = urljoin(url, content.location)
    except TimeoutError:
        raise Problem(504, "the picture could not be fetched in time") from None
    except (OSError, h11.ProtocolError, UnicodeError):
        raise Problem(422, "the picture could not be fetched") from None
    raise Problem(422, f"the URL leads on and on: {_MAX_REDIRECTS} redirections are followed")


def read_url(url: str, hosts: Sequence[str]) -> Target:
    """Take a URL apart. Raises Problem: 400 for what is not a plain http(s) URL, 403 for a host not in the list."""
    url = url.partition("#")[0]
    found = _URL.fullmatch(url)
    if not found or len(url) > _MAX_URL:
        raise Problem(400, "url is a plain http or https URL in ASCII, without a user")
    scheme, host = found["scheme"].lower(), found["host"].lower().strip("[]").removesuffix(".")
    if found["port"] and int(found["port"]) != _PORTS[scheme]:
        raise Problem(400, "url names a port; only 80 for http and 443 for https are visited")
    _check_host(host)
    if not any(host == entry or entry == "*" or (entry[:1] == "." and host.endswith(entry)) for entry in hosts):
        raise Problem(403, "pictures are not fetched from this host")
    rest = found["rest"] or "/"
    return Target(scheme, host, rest if rest.startswith("/") else f"/{rest}")


def _check_host(host: str) -> None:
    """Refuse numbers that resolvers would read as addresses: 2130706433, 0x7f.1, 0177.0.0.1, 127.1."""
    last = host.rpartition(".")[2]
    if ":" in host or re.fullmatch(r"\d+|0x[0-9a-f]*", last):
        try:
            address = ip_address(host)
        except ValueError:
            raise Problem(400, "url has a host that is neither a name nor an address in its usual form") from None
        if not is_public(address):
            raise Problem(403, "url leads to an address that is not public")
    elif not all(re.fullmatch(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", label) for label in host.split(".")):
        raise Problem(400, "url has a host that is no name")


@dataclass(frozen=True)
class _Redirect:
    location: str


async def _visit(target: Target, max_bytes: int, network: Network) -> bytes | _Redirect:
    async with asyncio.timeout(_CONNECT_S):
        addresses = await network.resolve(target.host, target.port)
        if not addresses or not all(is_public(ip_address(address)) for address in addresses):
            raise Problem(403, "url leads to an address that is not public")
        tls_host = target.host if target.scheme == "https" else None
        reader, writer = await network.connect(addresses[0], target.port, tls_host)
    try:
        return await _get(target, max_bytes, reader, writer)
    finally:
        writer.close()


async def _get(
    target: Target, max_bytes: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bytes | _Redirect:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
    host = f"[{target.host}]" if ":" in target.host else target.host
    headers = {
        "Host": host,
        "User-Agent": f"u2net/{__version__}",
        "Accept": "image/*",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    request = h11.Request(method="GET", target=target.path, headers=list(headers.items()))
    writer.write((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
    content = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(2**16))
        elif isinstance(event, h11.Response):
            answered = dict(event.headers)
            if event.status_code in (301, 302, 303, 307, 308) and b"location" in answered:
                return _Redirect(answered[b"location"].decode("ascii"))
            if event.status_code != 200:
                raise Problem(422, f"the picture could not be fetched: the host answered {event.status_code}")
            if answered.get(b"content-encoding", b"identity") != b"identity":
                raise Problem(422, "the picture could not be fetched: the host answered in an encoding")
        elif isinstance(event, h11.Data):
            content += event.data
            if len(content) > max_bytes:
                raise Problem(422, f"the picture has more than {max_bytes:,} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return bytes(content)
        elif not isinstance(event, h11.InformationalResponse):
            raise Problem(422, "the picture could not be fetched: the host hung up")
