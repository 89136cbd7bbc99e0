"""Room in memory, which the requests of one event loop take and give back."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

_PATIENCE_S = 1.0  # of those who wait for room, before slow clients are ended for them
_START_S = 2.0  # in which nobody is called slow
_FREE_PARTS, _PART_BYTES = 256, 256


class Hold:
    """What one request has of a room, and how quickly its client sends or reads."""

    def __init__(self, room: Room, end: Callable[[], None]) -> None:
        """`end` is called to end the request because its client is among the slowest."""
        self._room, self._end = room, end
        self.amount = 0
        """What was taken of the room, the reserve left out."""
        self.num_taken = 0
        """All that was taken."""
        self.is_ended = False
        self._start = time.monotonic()
        self._num_moved = 0

    async def take(self, amount: int) -> None:
        """Wait until there is room for so much more; this time does not make the client slow."""
        if not amount:
            return
        start, is_moving = time.monotonic(), self in self._room.moving
        self._room.moving.discard(self)
        try:
            await self._room.take(amount, self)
        finally:
            self._start += time.monotonic() - start
            if is_moving:
                self._room.moving.add(self)
        self.num_taken += amount

    def begin(self) -> None:
        """The client's turn begins: it sends, or it reads."""
        self._start, self._num_moved = time.monotonic(), 0
        self._room.moving.add(self)

    def move(self, num_bytes: int) -> None:
        """So much has come, or was taken."""
        self._num_moved += num_bytes

    def stop(self) -> None:
        """The client's turn is over."""
        self._room.moving.discard(self)

    def close(self) -> None:
        """Give all back."""
        self.stop()
        self._room.give(self.amount, self)
        self.amount = 0

    def rate(self) -> float:
        """Bytes a second, infinite at the beginning."""
        seconds = time.monotonic() - self._start
        return self._num_moved / seconds if seconds > _START_S else float("inf")

    def end(self) -> None:
        """End the request."""
        self.is_ended = True
        self.stop()
        self._end()


class Room:
    """An amount of bytes or pixels, taken first come, first served.

    `reserve` of it is kept for one hold at a time, when there is no other room. It must be enough for the largest. So
    requests that take room little by little never all wait for each other: one can always go on to its end.

    When somebody has waited for a second, holds whose clients move less than `slow_rate` bytes a second are ended, the
    slowest first.
    """

    def __init__(self, capacity: int, reserve: int = 0, slow_rate: float = 0.0) -> None:
        self.free = capacity - reserve
        self.moving: set[Hold] = set()
        """Those whose clients send or read at the moment."""
        self._reserve, self._slow_rate = reserve, slow_rate
        self._owner: Hold | None = None
        """Who has the reserve."""
        self._waiting: deque[tuple[int, Hold | None, asyncio.Future[None], float]] = deque()

    @property
    def is_short(self) -> bool:
        """Whether somebody has waited for long."""
        return bool(self._waiting) and time.monotonic() - self._waiting[0][3] > _PATIENCE_S

    async def take(self, amount: int, hold: Hold | None = None) -> None:
        """Wait until this much is free and all earlier tasks have theirs. Cancelled, it takes nothing."""
        if hold is not None and hold is self._owner:
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, hold, turn, time.monotonic()))
        self._serve()
        try:
            while not turn.done():
                await asyncio.wait([turn], timeout=_PATIENCE_S)
                if not turn.done():
                    # Enough for all who wait: those before would take it, and go on to wait for more.
                    self._end_slow(len(self._waiting) * max(amount, self._reserve))
        except asyncio.CancelledError:
            if not turn.cancel() and hold is None:  # it was granted at this very moment; a hold has it until its end
                self.free += amount
            self._serve()
            raise

    def give(self, amount: int, hold: Hold | None = None) -> None:
        """Give back what was taken."""
        if hold is not None and hold is self._owner:
            self._owner = None
        self.free += amount
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            amount, hold, turn, _ = self._waiting[0]
            if not turn.done():
                if amount <= self.free:
                    self.free -= amount
                    if hold is not None:
                        hold.amount += amount
                elif hold is not None and self._reserve and self._owner is None:
                    self._owner = hold
                else:
                    return
                turn.set_result(None)
            self._waiting.popleft()

    def _end_slow(self, amount: int) -> None:
        holding = [hold for hold in self.moving if hold.amount or hold is self._owner]
        for hold in sorted(holding, key=lambda hold: hold.rate()):
            if amount <= 0 or hold.rate() >= self._slow_rate:
                return
            amount -= hold.amount + (self._reserve if hold is self._owner else 0)
            hold.end()


def too_many_parts(num_parts: int, num_bytes: int) -> bool:
    """Whether the chunks of a body are so small that the event loop does little but read where they end.

    Each takes some 40 µs, and one of a byte has six on the wire. Clients write thousands of bytes at a time.
    """
    return num_parts > _FREE_PARTS + num_bytes // _PART_BYTES
