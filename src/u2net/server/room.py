"""A bounded amount of something that tasks take and give back, first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque


class Room:
    """So many bytes or pixels. For the tasks of one event loop."""

    def __init__(self, capacity: int) -> None:
        self.free = capacity
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, amount: int) -> None:
        """Wait until so much is free and everyone who came before has theirs. Cancelled, it takes nothing."""
        if not self._waiting and amount <= self.free:
            self.free -= amount
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(amount)  # it had been given at the very moment
            else:
                self._waiting.remove((amount, turn))
                self._serve()
            raise

    def give(self, amount: int) -> None:
        """Give back what was taken."""
        self.free += amount
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.free:
            amount, turn = self._waiting.popleft()
            if not turn.cancelled():
                self.free -= amount
                turn.set_result(None)
