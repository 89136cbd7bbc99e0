"""API keys, of which only hashes are known here, and how often each may be used."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request

from u2net.errors import reason
from u2net.server.config import ServerConfig
from u2net.server.problems import Busy, Problem


class Keys:
    """The keys of a configuration. Raises ValueError for a file that cannot be read, or holds other lines or no key.

    Keys are long and random, made by a machine, so a plain SHA-256 protects them; passwords would need more.
    """

    def __init__(self, config: ServerConfig, clock: Callable[[], float] = time.monotonic) -> None:
        lines = list(config.api_keys)
        if config.api_keys_file:
            lines += _lines(config.api_keys_file)
            ServerConfig(api_keys=tuple(lines))  # checks them
        self._sums = [(name, bytes.fromhex(digest)) for name, _, digest in (line.partition(":") for line in lines)]
        self._buckets = {name: Bucket(config.key_rate, config.key_burst, clock) for name, _ in self._sums}

    def admit(self, request: Request) -> str | None:
        """The name of the client, None where the service has no keys.

        Raises Problem: 401 for no key or an unknown one, 429 for one that is used too often.
        """
        if not self._sums:
            return None
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        key = request.headers.get("x-api-key") or (token.strip() if scheme.lower() == "bearer" else "")
        given = hashlib.sha256(key.encode("utf-8", "replace")).digest()
        # All are compared, each in constant time, so that the time gives no hint at a key.
        found = [name for name, digest in self._sums if hmac.compare_digest(given, digest)]
        if not found:
            raise Problem(401, "give a valid key in X-Api-Key", {"WWW-Authenticate": "Bearer"})
        wait_s = self._buckets[found[0]].take()
        if wait_s > 0:
            raise Busy(429, "this key is used too often", wait_s)
        return found[0]


def _lines(file: str) -> list[str]:
    """The keys in a file: at least one, because a service that was given a file must never serve without keys."""
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        cause = reason(error) if isinstance(error, OSError) else "it is not text in UTF-8"
        raise ValueError(f"the keys in {file} cannot be read: {cause}") from None
    lines = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
    if not lines:
        raise ValueError(f"{file} holds no key; to serve without keys, do not set api_keys_file")
    return lines


@dataclass
class Bucket:
    """Tokens that arrive at a rate, up to a number; each request takes one."""

    rate: float
    """Tokens a second; 0 for no limit."""
    burst: int
    clock: Callable[[], float]

    def __post_init__(self) -> None:
        self._tokens, self._filled = float(self.burst), self.clock()

    def take(self) -> float:
        """Take a token and return 0, or return the seconds until there is one."""
        if self.rate == 0:
            return 0.0
        now = self.clock()
        self._tokens = min(self.burst, self._tokens + (now - self._filled) * self.rate)
        self._filled = now
        if self._tokens < 1:
            return (1 - self._tokens) / self.rate
        self._tokens -= 1
        return 0.0
