"""Fetch pictures by URL without being made to reach what only this machine can reach (CWE-918, OWASP's SSRF).

Hosts are on a list; a host is resolved once, every address it has must be public, and the connection goes to the
address that was checked. Redirects are new URLs. Proxies of the environment are not used.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urljoin

import h11

from u2net import __version__
from u2net.server.problems import Problem
from u2net.server.room import too_many_parts

_CONNECT_S, _TOTAL_S = 5.0, 10.0
_MAX_REDIRECTS = 3
_MAX_URL, _MAX_HEAD = 2048, 16 * 1024
_PORTS = {"http": 80, "https": 443}
# No user, no zone, no escapes, no other alphabets (their names can be given in ASCII, as xn--…).
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?(?P<rest>[/?][!-\[\]-~]*)?",
    re.ASCII | re.IGNORECASE,
)


class Internet:
    """Name resolution and connections; tests put another in its place."""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a host, by the system's resolver. Raises OSError."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=1)
        return [str(entry[4][0]) for entry in found]

    async def connect(
        self, address: str, port: int, tls_host: str | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """TCP, with TLS if a host is given, whose name the certificate must have. Raises OSError."""
        context = ssl.create_default_context() if tls_host else None
        return await asyncio.open_connection(address, port, ssl=context, server_hostname=tls_host)


@dataclass(frozen=True)
class Target:
    """Where a URL leads."""

    host: str
    port: int
    path: str


async def fetch(
    url: str,
    hosts: Sequence[str],
    max_bytes: int,
    take_room: Callable[[int], Awaitable[None]],
    network: Internet | None = None,
) -> bytes:
    """The content behind a URL whose host is one of `hosts`: a name, .name for all below it, or * for any.

    `take_room` is waited for before each part is kept.

    Raises Problem: 400 for another kind of URL, 403 for a host or address that is not allowed, 422 for no picture or
    one that is too large, 504 after 10 seconds.
    """
    network = network or Internet()
    try:
        async with asyncio.timeout(_TOTAL_S):
            for _ in range(_MAX_REDIRECTS + 1):
                content = await _visit(read_url(url, hosts), max_bytes, take_room, network)
                if isinstance(content, bytes):
                    return content
                url = urljoin(url, content)
    except TimeoutError:
        raise Problem(504, "the picture could not be fetched in time") from None
    except (OSError, h11.ProtocolError, ValueError):  # the last for what is no URL or no ASCII
        raise Problem(422, "the picture could not be fetched") from None
    raise Problem(422, f"the URL has more than {_MAX_REDIRECTS} redirections")


def read_url(url: str, hosts: Sequence[str]) -> Target:
    """The parts of a URL. Raises Problem: 400 for what is not a plain http(s) URL, 403 for a host not in the list."""
    url = url.partition("#")[0]
    found = _URL.fullmatch(url)
    if not found or len(url) > _MAX_URL:
        raise Problem(400, "url must be a plain http or https URL in ASCII, without a user")
    scheme, host = found["scheme"].lower(), found["host"].lower().strip("[]").removesuffix(".")
    if found["port"] and int(found["port"]) != _PORTS[scheme]:
        raise Problem(400, "url has a port; only 80 for http and 443 for https are allowed")
    _check_host(host)
    if not any(host == entry or entry == "*" or (entry[:1] == "." and host.endswith(entry)) for entry in hosts):
        raise Problem(403, "pictures are not fetched from this host: the service's --fetch-hosts does not name it")
    rest = found["rest"] or "/"
    return Target(host, _PORTS[scheme], rest if rest.startswith("/") else f"/{rest}")


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
        raise Problem(400, "url has a host that is not a valid name")


async def _visit(
    target: Target, max_bytes: int, take_room: Callable[[int], Awaitable[None]], network: Internet
) -> bytes | str:
    """What is there, or where the host says that it is."""
    async with asyncio.timeout(_CONNECT_S):
        addresses = await network.resolve(target.host, target.port)
        if not addresses or not all(is_public(ip_address(address)) for address in addresses):
            raise Problem(403, "url leads to an address that is not public")
        tls_host = target.host if target.port == _PORTS["https"] else None
        reader, writer = await _connect(addresses, target.port, tls_host, network)
    try:
        return await _get(target, max_bytes, take_room, reader, writer)
    finally:
        writer.close()


async def _connect(
    addresses: Sequence[str], port: int, tls_host: str | None, network: Internet
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the first address that answers. Raises what the last one does."""
    for address in addresses[:-1]:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CONNECT_S / len(addresses)):
                return await network.connect(address, port, tls_host)
    return await network.connect(addresses[-1], port, tls_host)


async def _get(
    target: Target,
    max_bytes: int,
    take_room: Callable[[int], Awaitable[None]],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> bytes | str:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
    host = f"[{target.host}]" if ":" in target.host else target.host
    headers = [("Host", host), ("User-Agent", f"u2net/{__version__}"), ("Accept", "image/*")]
    headers += [("Accept-Encoding", "identity"), ("Connection", "close")]
    request = h11.Request(method="GET", target=target.path, headers=headers)
    writer.write((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
    content, num_parts = bytearray(), 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(2**16))
        elif isinstance(event, h11.Response):
            answered = dict(event.headers)
            if event.status_code in (301, 302, 303, 307, 308) and b"location" in answered:
                return answered[b"location"].decode("ascii")
            if event.status_code != 200:
                raise Problem(422, f"the picture could not be fetched: the host answered {event.status_code}")
            if answered.get(b"content-encoding", b"identity") != b"identity":
                raise Problem(422, "the picture could not be fetched: the host answered in an encoding")
        elif isinstance(event, h11.Data):
            num_parts += 1
            if len(content) + len(event.data) > max_bytes:
                raise Problem(422, f"the picture has more than {max_bytes:,} bytes")
            if too_many_parts(num_parts, len(content)):
                raise Problem(422, "the picture could not be fetched: the host sends it in too many parts")
            await take_room(len(event.data))
            content += event.data
        elif isinstance(event, h11.EndOfMessage):
            return bytes(content)
        elif not isinstance(event, h11.InformationalResponse):
            raise Problem(422, "the picture could not be fetched: the host hung up")


# The IANA registries of special-purpose addresses, and multicast, which has a registry of its own. Python's own
# `is_global` follows the registries at the time of its release: for 3.11 some of these are public.
# https://www.iana.org/assignments/iana-ipv4-special-registry
# https://www.iana.org/assignments/iana-ipv6-special-registry
_NOT_PUBLIC_4 = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
    *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16"),
    *("192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
)
# All of IPv6 that is given to the public lies in 2000::/3.
_PUBLIC_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = ("2001::/23", "2001:db8::/32", "2620:4f:8000::/48", "3fff::/20")
_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)  # RFC 5214: the upper half of the interface's identifier


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address, and any IPv4 address inside it, belongs to the public internet."""
    if isinstance(address, IPv4Address):
        return not any(address in IPv4Network(network) for network in _NOT_PUBLIC_4)
    if address.scope_id is not None:
        return False
    carried = _carried(address)
    if carried is not None and not is_public(carried):
        return False
    if address.ipv4_mapped is not None or address in _NAT64:
        return True  # nothing but the IPv4 address inside it
    return address in _PUBLIC_6 and not any(address in IPv6Network(network) for network in _NOT_PUBLIC_6)


def _carried(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a translator or tunnel would send to."""
    value = int(address)
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64 or (value >> 32 & 0xFFFFFFFF) in _ISATAP:
        return IPv4Address(value & 0xFFFFFFFF)
    return None
