"""A folder into which pictures are dropped: each is taken when it is whole."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from u2net.cutout.batch.plan import Job, Outcome, Task

_POLL_S = 1.0
_SHARE = 4  # looking takes at most one part in so many of the time
_PATIENCE_S = 30.0  # what does not decode may be a copy that pauses: for so long
_ZEROS = 64  # bytes at a file's end, where a place was kept for what is still to come


@dataclass
class _Seen:
    """A file as it was when it last changed."""

    stamp: tuple[int, int, int]
    """Size, time of change, and number on the disk."""
    since: float
    is_taken: bool = False
    is_doubtful: bool = False
    """Whether it did not decode, or does not look as if it would."""


class Arrivals:
    """The endless tasks of a folder: a picture is one as soon as it stands unchanged between two looks.

    It then has to decode to its end, which `settle` is told: until a picture has been unchanged for half a minute, one
    that does not is taken for a copy that pauses. A picture that changes later is a task again. `look` gives the
    folder's pictures and the failures known beforehand, as `plan` does; `look_up` what is to be done for a picture, or
    is known; that and failures are told.
    """

    def __init__(
        self,
        look: Callable[[], tuple[list[Job], list[Outcome]]],
        look_up: Callable[[Job], Task | Outcome],
        tell: Callable[[Outcome], object],
        *,
        poll_s: float = _POLL_S,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._look, self._look_up, self._tell = look, look_up, tell
        self._poll_s, self._patience_s = poll_s, patience_s
        self._seen: dict[Path, _Seen] = {}
        self._failures: set[tuple[Path, str]] = set()

    def __iter__(self) -> Iterator[Task | None]:
        while True:
            begun = time.monotonic()
            yield from self._arrived()
            now = time.monotonic()
            rested = now + max(self._poll_s, _SHARE * (now - begun))
            while time.monotonic() < rested:
                yield None

    def settle(self, outcome: Outcome) -> bool:
        """Whether what came of a task is what is to be told; otherwise the picture is tried again."""
        seen = self._seen.get(outcome.source)
        if outcome.is_settled or seen is None:
            return outcome.is_settled
        if seen.is_doubtful:
            return True
        seen.is_taken, seen.is_doubtful = False, True
        return False

    def _arrived(self) -> Iterator[Task]:
        jobs, failures = self._look()
        for failure in failures:
            if (failure.source, failure.reason) not in self._failures:
                self._failures.add((failure.source, failure.reason))
                self._tell(failure)
        there = {job.source for job in jobs}
        self._seen = {source: seen for source, seen in self._seen.items() if source in there}
        for job in jobs:
            if self._is_whole(job.source):
                item = self._look_up(job)
                if isinstance(item, Outcome):
                    self._tell(item)
                else:
                    yield item

    def _is_whole(self, source: Path) -> bool:
        """Whether a picture may be taken now, and was not yet."""
        try:
            status = source.stat()
            stamp = (status.st_size, status.st_mtime_ns, status.st_ino)
            now = time.monotonic()
            seen = self._seen.get(source)
            if seen is None or seen.stamp != stamp:
                self._seen[source] = _Seen(stamp, now)
                return False
            if seen.is_taken or now - seen.since < (self._patience_s if seen.is_doubtful else self._poll_s):
                return False
            if not seen.is_doubtful and _ends_in_zeros(source):
                seen.is_doubtful = True
                return False
        except OSError:  # it went as it came
            return False
        seen.is_taken = True
        return True


def _ends_in_zeros(path: Path) -> bool:
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - _ZEROS))
        return not any(file.read(_ZEROS))
