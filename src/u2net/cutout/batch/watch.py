"""Watch a folder: each picture that is put into it becomes a task when its file is complete."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from u2net.cutout.batch.plan import Outcome, Plan, Task

_POLL_S = 1.0
_REST = 4  # times as long as looking took: so looking takes a fifth of the time at most
_PATIENCE_S = 30.0  # a file that does not decode may be a copy that pauses, up to this long
_ZEROS = 64  # bytes at the end of a file whose size was reserved before its content came


@dataclass
class _Seen:
    """A file as it was when it last changed."""

    stamp: tuple[int, int, int]
    """Size, time of change, and inode."""
    since: float
    is_taken: bool = False
    is_doubtful: bool = False
    """Whether it did not decode, or does not look complete."""


class Arrivals:
    """The endless tasks of a watched folder. A picture is a task when its file stayed the same between two looks.

    If it then does not decode, it may be a copy that pauses: give each outcome to `settle`, which says whether to
    report it, or to wait until the file has stayed the same for half a minute. A picture that changes later is a task
    again.

    `look` gives the plan of the folder; `look_up` gives what is still to be
    done for a task, or its outcome if that is known. `tell` gets known outcomes and failures.
    """

    def __init__(
        self,
        look: Callable[[], Plan],
        look_up: Callable[[Task], Task | Outcome],
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
            rested = now + max(self._poll_s, _REST * (now - begun))
            while time.monotonic() < rested:
                yield None

    def settle(self, outcome: Outcome) -> bool:
        """Whether an outcome is final and should be reported; otherwise the picture will be tried again."""
        seen = self._seen.get(outcome.source)
        if outcome.is_settled or seen is None:
            return outcome.is_settled
        if seen.is_doubtful:
            return True
        seen.is_taken, seen.is_doubtful = False, True
        return False

    def _arrived(self) -> Iterator[Task]:
        planned = self._look()
        for failure in planned.failures:
            if (failure.source, failure.reason) not in self._failures:
                self._failures.add((failure.source, failure.reason))
                self._tell(failure)
        there = {task.source for task in planned.tasks}
        self._seen = {source: seen for source, seen in self._seen.items() if source in there}
        for task in planned.tasks:
            if self._is_complete(task.source):
                item = self._look_up(task)
                if isinstance(item, Outcome):
                    self._tell(item)
                else:
                    yield item

    def _is_complete(self, source: Path) -> bool:
        """Whether a picture's file looks complete, and was not taken before."""
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
        except OSError:  # it was removed meanwhile
            return False
        seen.is_taken = True
        return True


def _ends_in_zeros(path: Path) -> bool:
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - _ZEROS))
        return not any(file.read(_ZEROS))
