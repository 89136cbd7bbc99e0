"""SIGINT and SIGTERM as a wish to stop at the end of what is begun."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self


class Signals:
    """Notes the first signal. A SIGINT after it acts at once, as it would have without us.

    Another SIGTERM says nothing new: schedulers send it to a launcher and to its processes, and launchers pass it on.
    """

    def __init__(self) -> None:
        self.received = 0
        self._former: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python hears no signals
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        while self._former:
            signal.signal(*self._former.popitem())

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.received = self.received or number
        if signal.SIGINT in self._former:
            signal.signal(signal.SIGINT, self._former.pop(signal.SIGINT))
