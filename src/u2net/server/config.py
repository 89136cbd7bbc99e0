"""Every setting of the service: plain data, filled from the environment, the command line or code."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_origin

from u2net.config import check_fields, field_types, option
from u2net.inference.runtimes import Runtime
from u2net.models import DEFAULT
from u2net.system.process import num_processors

if TYPE_CHECKING:
    from u2net.images.limits import Limits

PREFIX = "U2NET_SERVE_"
"""Of the environment variable of each field: U2NET_SERVE_PORT and so on."""

_MIB = 2**20
_SUM_OF_NOTHING = hashlib.sha256(b"").hexdigest()
_ORIGIN = re.compile(r"(?!https://.*:443$|http://.*:80$)[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:]+\])(:\d{1,5})?")


@dataclass(frozen=True)
class ServerConfig:
    """The settings of one service. Raises ValueError for values out of range, naming the field."""

    host: str = "127.0.0.1"
    """Address to listen on. The default serves this machine only; 0.0.0.0 serves the network."""
    port: int = option(7000, 0, 65535)
    """Port to listen on; 0 picks a free one, which the log names."""
    workers: int = option(1, 1)
    """Number of processes that share the port. More of them answer more requests a second, and each needs memory."""

    models: tuple[str, ...] = (DEFAULT,)
    """Name or file of a model to offer; repeat the option for more. Requests choose one by its name, or by its file's
    name without the ending; the first is used if they choose none."""
    runtime: Runtime = "auto"
    """Library that runs the models. auto uses OpenVINO if it is installed, in integers if the model has them."""
    threads: int = option(0, 0)
    """Threads of the runtime in each process; 0 shares the processors out among the processes."""
    max_batch: int = option(0, 0)
    """Pictures that go through the network together, at most. 0 means 8 on a GPU, and 1 on a processor, where a batch
    saves no time and each picture takes 290 MB."""
    max_delay_ms: float = option(5.0, 0)
    """Longest time, in milliseconds, that a picture waits for others to fill a batch."""

    max_bytes: int = option(25 * _MIB, 1)
    """Largest picture file, in bytes; larger ones are refused with 413."""
    max_pixels: int = option(50_000_000, 1)
    """Largest picture, in pixels; larger ones are refused with 422."""
    max_side: int = option(16_384, 1)
    """Longest side of a picture, in pixels; longer ones are refused with 422."""
    max_matting_pixels: int = option(4_000_000, 0)
    """Largest picture for alpha matting (a=true), in pixels. It takes a second for each million; 0 turns it off."""
    pixels_at_once: int = 100_000_000
    """Pixels that a process works on at the same time, in all pictures together; each takes up to 18 bytes of memory.
    Lower it to save memory, but not below max_pixels."""
    bodies_at_once: int = 256 * _MIB
    """Bytes of requests that a process keeps in memory, and as many again for answers. Further ones wait, and
    the slowest are ended."""
    pool: int = option(0, 0)
    """Threads in each process that decode and encode pictures. 0 means two for each processor that the process has."""
    queue: int = option(64, 0)
    """Pictures that may wait in a process, besides those in the pool's threads; more are refused with 429."""

    read_timeout_s: float = option(10.0, 0.001)
    """Longest time for the head of a request; then the connection is closed. Its body has the same time, and a second
    more for every min_rate bytes; then the answer is 408."""
    min_rate: int = option(16 * 1024, 1)
    """Lowest rate, in bytes a second, at which clients must send a body and read an answer after read_timeout_s."""
    timeout_s: float = option(30.0, 0.001)
    """Longest time from the end of a request to the start of its answer; then the answer is 504."""
    keep_alive_s: float = option(10.0, 0.001)
    """Time that an idle connection stays open."""
    max_connections: int = option(1024, 1)
    """Connections that a process keeps open; more are closed at once."""
    drain_delay_s: float = option(1.0, 0)
    """Shortest time between the signal to end and the end; new requests get 503 meanwhile. Set it to the time that your
    load balancer takes to notice."""
    drain_timeout_s: float = option(18.0, 0)
    """Longest time that requests may take to finish after the signal to end."""

    api_keys: tuple[str, ...] = ()
    """Client keys as NAME:SHA256, the hexadecimal SHA-256 of the key; without any, the service needs no key."""
    api_keys_file: str | None = None
    """File of client keys, a NAME:SHA256 on each line; lines that begin with # are comments."""
    key_rate: float = option(10.0, 0)
    """Requests a second that each key may make of a process in the long run; 0 is no limit."""
    key_burst: int = option(40, 1)
    """Requests that each key may make at once."""

    fetch_hosts: tuple[str, ...] = ()
    """Host that pictures may be fetched from by URL: example.com for that host, .example.com for all below it, * for
    any. Repeat the option for more; without it nothing is fetched."""
    cors_origins: tuple[str, ...] = ()
    """Origin whose pages may call the service from a browser, for example https://shop.example. Repeat the option for
    more; without it only the service's own page may."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged; each request is a line at info."""

    def __post_init__(self) -> None:
        def check(name: str, holds: bool, wanted: str) -> None:
            if not holds:
                raise ValueError(f"{name} must be {wanted}, got {getattr(self, name)!r}")

        check_fields(self)
        check("models", bool(self.models) and all(self.models), "at least one name")
        check("models", len(self.offered) == len(self.models), "different names")
        check("pixels_at_once", self.pixels_at_once >= self.max_pixels, "at least max_pixels")
        check("bodies_at_once", self.bodies_at_once >= self.max_body, "room for one body")
        for origin in self.cors_origins:
            # As browsers write it: they compare no further, so that any other form would never match.
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"cors_origins must be like https://shop.example or http://localhost:3000, in lower case, without "
                    f"a path or a port that is usual, got {origin!r}"
                )
        for key in self.api_keys:
            # The message does not repeat the value: it may be a key that someone forgot to hash.
            if not re.fullmatch(r"[\w.-]{1,64}:[0-9a-f]{64}", key):
                raise ValueError("api_keys must be NAME:SHA256, with 64 hexadecimal digits in lower case")
            if key.endswith(_SUM_OF_NOTHING):
                raise ValueError("api_keys has the SHA-256 of an empty key, which everyone would have")
        check("api_keys_file", self.api_keys_file != "", "the name of a file")

    @property
    def offered(self) -> dict[str, str]:
        """The models by their names in requests. A file is known by its stem: requests never see paths."""
        offered = {}
        for model in self.models:
            path = Path(model)
            is_file = path.name != model or path.suffix in (".onnx", ".pth", ".safetensors")
            offered[path.stem if is_file else model] = model
        return offered

    @property
    def max_body(self) -> int:
        """Bytes of a request's body: a picture, and what a form has around it."""
        return self.max_bytes + 64 * 1024

    @property
    def limits(self) -> Limits:
        """What `load_image` accepts."""
        from u2net.images.limits import Limits

        return Limits(max_pixels=self.max_pixels, max_side=self.max_side, max_bytes=self.max_bytes)

    @property
    def num_threads(self) -> int:
        """Threads of the runtime."""
        return self.threads or max(1, num_processors() // self.workers)

    @property
    def pool_size(self) -> int:
        """Threads that decode and encode."""
        return self.pool or 2 * max(1, num_processors() // self.workers)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The settings in `U2NET_SERVE_…`. Raises ValueError for an unknown name or a wrong value.

        An empty value leaves the default, but for keys: who sets their variable does not mean to serve everyone.
        """
        known = {PREFIX + field.name.upper(): field.name for field in fields(cls)}
        given = {name: text for name, text in environment.items() if name.startswith(PREFIX)}
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise ValueError(f"{unknown[0]} is not a setting of the service")
        for name in (PREFIX + "API_KEYS", PREFIX + "API_KEYS_FILE"):
            if not given.get(name, name).strip(", "):
                raise ValueError(f"{name} is set, but empty; to serve without keys, do not set it")
        hints = field_types(ServerConfig)
        return cls(**{known[name]: _parse(name, text, hints[known[name]]) for name, text in given.items() if text})


def _parse(name: str, text: str, kind: Any) -> Any:
    if get_origin(kind) is tuple:
        return tuple(item.strip() for item in text.split(",") if item.strip())
    if kind not in (int, float):
        return text
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name} must be a number, got {text!r}") from None
