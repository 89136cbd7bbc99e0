"""What a session was opened from, and how: this travels to other processes in its place."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from u2net.errors import InvalidModel, NotPicklable
from u2net.inference.runtimes import RUNTIMES, Options
from u2net.inference.session import Session
from u2net.models.card import Card
from u2net.models.transform import Backend
from u2net.system.files import sha256_of

_KEPT = 4  # sessions that arrived in this process, for those that arrive again


@dataclass(frozen=True)
class Origin:
    """A file and how it is run."""

    path: Path
    """Absolute: other processes may work in another folder."""
    card: Card
    """With the Transform that was asked for."""
    runtime: str
    """A row of `RUNTIMES`, or "torch"."""
    options: Options
    stamp: tuple[int, int]
    """Length and time of the file, from before it was opened."""
    sha256: str = ""
    """Of the file. Empty until a session is pickled: it takes a while with large files."""

    @classmethod
    def of(cls, path: Path, card: Card, runtime: str, options: Options) -> Self:
        """The origin of a session that is about to be opened. Raises OSError for a file that cannot be read."""
        path = path.absolute()
        return cls(path, card, runtime, options, _stamp(path))

    def backend(self) -> Backend:
        """The file, opened now; raises what its runtime does, and InvalidModel for another file than that pickled."""
        if self.sha256 and self.sha256 != sha256_of(self.path):
            raise InvalidModel(f"{self.path.name} is another file than the one that the session was opened from")
        if self.runtime != "torch":
            return RUNTIMES[self.runtime].open(self.path, self.card, self.options)
        from u2net.net.backend import torch_backend
        from u2net.net.weight_files import load_checkpoint

        return torch_backend(load_checkpoint(self.path).network)

    def travel(self) -> tuple[Callable[[Origin], Session], tuple[Origin]]:
        """What pickle keeps of a session. Raises NotPicklable, and OSError for a file that can no longer be read."""
        if self.options.session_options is not None:
            raise NotPicklable("a session with sess_opts cannot be pickled: give threads and providers in their place")
        return _arrive, (self if self.sha256 else replace(self, sha256=_digest_of_opened(self.path, self.stamp)),)


class _OnArrival:
    """A backend that opens its file with the first batch.

    What fails while something is unpickled ends a pool's process, or leaves the pool waiting for ever; what fails in a
    call reaches the caller.
    """

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._opened: Backend | None = None
        self._lock = threading.Lock()

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with self._lock:
            if self._opened is None:
                self._opened = self._origin.backend()
        return self._opened(batch)


_arrived: dict[str, Session] = {}
_arrived_lock = threading.Lock()


def _arrive(origin: Origin) -> Session:
    """The session in another process: the same until it is closed, for a pool sends it along with every task."""
    with _arrived_lock:
        session = _arrived.pop(repr(origin), None)
        if session is None or session.is_closed:
            session = Session(_OnArrival(origin), origin.card, origin)
        _arrived[repr(origin)] = session
        if len(_arrived) > _KEPT:
            del _arrived[next(iter(_arrived))]
    return session


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=_KEPT)
def _digest_of_opened(path: Path, stamp: tuple[int, int]) -> str:
    """The digest of a file that is open, if it is still the same file."""
    digest = sha256_of(path)
    if _stamp(path) != stamp:
        raise NotPicklable(f"{path.name} has changed since the session was opened: open it again")
    return digest
