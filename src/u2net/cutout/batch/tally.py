"""Pictures that end the processes which work on them, found out by somebody whom this does not end."""

from __future__ import annotations

from collections import Counter


class Tally:
    """How often each picture was begun by processes that never came to another.

    It holds a name for each process, and for each that died.
    """

    def __init__(self) -> None:
        self._at: dict[str, str] = {}
        self._times: Counter[str] = Counter()

    def begin(self, process: str, name: str) -> int:
        """Note that a process begins a picture, and so has lived through its last; how often this was begun by now."""
        last = self._at.get(process)
        if last is not None:
            del self._times[last]
        self._at[process] = name
        self._times[name] += 1
        return self._times[name]
