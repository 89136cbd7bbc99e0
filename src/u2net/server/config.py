"""Everything that the service can be told: plain data, filled from the environment, the command line or code."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args, get_origin, get_type_hints

from u2net.inference.runtimes import Runtime
from u2net.system import num_processors

if TYPE_CHECKING:
    from u2net.images.load import Limits

PREFIX = "U2NET_SERVE_"
"""Of the environment variable of each field: U2NET_SERVE_PORT and so on."""

_MIB = 2**20


@dataclass(frozen=True)
class ServerConfig:
    """One service. Raises ValueError for values out of range, naming the field."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all."""
    port: int = 7000
    """Port to listen on; 0 for any that is free."""
    workers: int = 1
    """Processes, which share nothing but the port."""

    models: tuple[str, ...] = ("u2netp_tuned",)
    """Name or file of a model that requests may ask for, a file by its name alone; the first where none is."""
    runtime: Runtime = "auto"
    """What runs ONNX models; auto is OpenVINO, in integers where the model has them, if it is installed."""
    threads: int = 0
    """Threads of the runtime in each process; 0 for its share of the processors."""
    max_batch: int = 0
    """Pictures that go through the network together; 0 for 8 on a GPU, and 1 on a processor, where more save nothing
    and take 290 MB each."""
    max_delay_ms: float = 5.0
    """How long a picture waits for others to go with."""

    max_bytes: int = 25 * _MIB
    """Length of a picture's file."""
    max_pixels: int = 50_000_000
    """Pixels of a picture."""
    max_side: int = 16_384
    """Longer side of a picture."""
    max_matting_pixels: int = 4_000_000
    """Pixels of a picture whose alpha matting is asked for, which takes a second of a processor for each million; 0
    refuses it."""
    pixels_at_once: int = 100_000_000
    """Pixels that the pictures being worked on in a process have together: 18 bytes of memory at most for each."""
    bodies_at_once: int = 256 * _MIB
    """Bytes of requests that are kept in memory in a process, and of answers once more."""
    pool: int = 0
    """Threads that decode and encode in each process; 0 for two per processor that it has a share of."""
    queue: int = 64
    """Pictures that may wait in a process, besides one for each thread of the pool; more are refused with 429."""

    read_timeout_s: float = 10.0
    """Time for the head of a request, and for its body, which gets a second more for each `min_rate` bytes."""
    min_rate: int = 16 * 1024
    """Bytes a second that clients must send and take, after `read_timeout_s`."""
    timeout_s: float = 30.0
    """Time from the end of a request to its answer, 504 afterwards."""
    keep_alive_s: float = 10.0
    """How long an idle connection stays open."""
    max_connections: int = 1024
    """Connections to a process; more are closed at once."""
    drain_delay_s: float = 1.0
    """How long new requests are refused with 503, once the service was told to end, before it stops listening."""
    drain_timeout_s: float = 18.0
    """How long requests that came before may take, once the service was told to end."""

    api_keys: tuple[str, ...] = ()
    """Key of a client as NAME:SHA256, the sum of the key in hexadecimal; without any, none is asked for."""
    api_keys_file: str | None = None
    """File with one more such key in each line."""
    key_rate: float = 10.0
    """Requests a second that a key may make of a process in the long run; 0 for no limit."""
    key_burst: int = 40
    """Requests that a key may make at once."""

    fetch_hosts: tuple[str, ...] = ()
    """Host that pictures may be fetched from: example.com, .example.com for all below it, * for all."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity of what is logged; requests are logged as info."""

    def __post_init__(self) -> None:
        for name in ("workers", "max_bytes", "max_pixels", "max_side", "min_rate", "max_connections", "key_burst"):
            _check(name, getattr(self, name), getattr(self, name) >= 1, "1 or more")
        for name in ("threads", "max_batch", "max_delay_ms", "max_matting_pixels", "pool", "queue", "key_rate"):
            _check(name, getattr(self, name), getattr(self, name) >= 0, "0 or more")
        for name in ("drain_delay_s", "drain_timeout_s"):
            _check(name, getattr(self, name), getattr(self, name) >= 0, "0 or more")
        for name in ("read_timeout_s", "timeout_s", "keep_alive_s"):
            _check(name, getattr(self, name), getattr(self, name) > 0, "more than 0")
        _check("port", self.port, 0 <= self.port <= 65535, "0 to 65535")
        _check("models", self.models, bool(self.models) and all(self.models), "at least one name")
        _check("models", self.models, len(self.offered) == len(self.models), "a list of different names")
        _check("pixels_at_once", self.pixels_at_once, self.pixels_at_once >= self.max_pixels, "at least max_pixels")
        _check("bodies_at_once", self.bodies_at_once, self.bodies_at_once >= self.max_body, "room for one body")
        for name in ("runtime", "log_level"):
            choices = get_args(get_type_hints(type(self))[name])
            _check(name, getattr(self, name), getattr(self, name) in choices, f"one of {', '.join(choices)}")
        for key in self.api_keys:
            # The value itself is not told: it may be a key that someone forgot to hash.
            if not re.fullmatch(r"[\w.-]{1,64}:[0-9a-f]{64}", key):
                raise ValueError("api_keys are NAME:SHA256, with 64 hexadecimal digits in lower case")

    @property
    def offered(self) -> dict[str, str]:
        """What `models` are called in requests, and what each of them is: of files no more than the name is told."""
        return {_called(model): model for model in self.models}

    @property
    def max_body(self) -> int:
        """Bytes of a request's body: a picture, and what a form has around it."""
        return self.max_bytes + 64 * 1024

    @property
    def limits(self) -> Limits:
        """What `load_image` accepts."""
        from u2net.images.load import Limits

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
        """The configuration that U2NET_SERVE_… describe. Raises ValueError for a name or value that is none."""
        known = {PREFIX + field.name.upper(): field.name for field in fields(cls)}
        given = {name: text for name, text in environment.items() if name.startswith(PREFIX)}
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise ValueError(f"{unknown[0]} is no setting of the service")
        hints = get_type_hints(cls)
        return cls(**{known[name]: _parse(name, text, hints[known[name]]) for name, text in given.items() if text})


def _called(model: str) -> str:
    path = Path(model)
    return path.stem if path.name != model or path.suffix in (".onnx", ".pth", ".safetensors") else model


def _check(name: str, value: object, holds: bool, wanted: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {wanted}, got {value!r}")


def _parse(name: str, text: str, kind: Any) -> Any:
    if get_origin(kind) is tuple:
        return tuple(item.strip() for item in text.split(",") if item.strip())
    if kind not in (int, float):
        return text
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name} is a number, got {text!r}") from None
