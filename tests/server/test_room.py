import asyncio

import pytest

from u2net.server import room as room_module
from u2net.server.room import Hold, Room


def _run(scene):
    return asyncio.run(asyncio.wait_for(scene(), 30))


def test_what_there_is_can_be_taken_at_once():
    async def scene():
        room = Room(10)
        await room.take(10)
        return room.free

    assert _run(scene) == 0


def test_who_came_first_is_served_first_though_less_would_do_for_another():
    async def scene():
        room, order = Room(10), []

        async def want(name, amount):
            await room.take(amount)
            order.append(name)

        await room.take(8)
        tasks = [asyncio.create_task(want("large", 9)), asyncio.create_task(want("small", 1))]
        await asyncio.sleep(0)
        room.give(8)
        await asyncio.gather(*tasks)
        return order

    assert _run(scene) == ["large", "small"]


def test_who_gives_up_takes_nothing_and_is_in_nobodys_way():
    async def scene():
        room = Room(10)
        await room.take(5)
        large = asyncio.create_task(room.take(9))
        small = asyncio.create_task(room.take(5))
        await asyncio.sleep(0)
        large.cancel()
        await small
        return room.free

    assert _run(scene) == 0


@pytest.mark.parametrize("served_first", [True, False])
def test_who_gives_up_while_others_give_back_takes_nothing(served_first):
    async def scene():
        room = Room(10)
        await room.take(10)
        waiting = asyncio.create_task(room.take(4))
        await asyncio.sleep(0)
        steps = [lambda: room.give(10), waiting.cancel]
        for step in steps if served_first else reversed(steps):
            step()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return room.free

    assert _run(scene) == 10


class _Client(Hold):
    """One whose rate is given."""

    def __init__(self, room, rate):
        super().__init__(room, self.close)
        self._rate = rate
        self.begin()

    def rate(self):
        return self._rate


def test_who_takes_little_by_little_can_always_go_on_to_an_end():
    async def scene():
        room, order = Room(30, reserve=10), []

        async def upload(name):
            hold = Hold(room, lambda: None)
            for _ in range(10):
                await hold.take(1)
            order.append(name)
            hold.close()

        await asyncio.gather(*(upload(name) for name in range(20)))
        return sorted(order), room.free

    assert _run(scene) == (list(range(20)), 20)


def test_the_reserve_is_for_one_at_a_time():
    async def scene():
        room = Room(10, reserve=10)
        first, second = Hold(room, lambda: None), Hold(room, lambda: None)
        await first.take(4)
        waiting = asyncio.create_task(second.take(4))
        await first.take(6)
        before = waiting.done()
        first.close()
        await waiting
        return before, room.free

    assert _run(scene) == (False, 0)


def test_the_slowest_are_ended_for_those_who_wait_and_no_more_of_them_than_needed(monkeypatch):
    monkeypatch.setattr(room_module, "_PATIENCE_S", 0.01)

    async def scene():
        room = Room(30, slow_rate=100)
        clients = [_Client(room, rate) for rate in (50, 10, 20, 200)]
        for client in clients:
            await client.take(7)
        await room.take(10)
        return [client.is_ended for client in clients]

    assert _run(scene) == [False, True, True, False]


def test_nobody_is_ended_who_is_quick_or_whose_turn_is_over(monkeypatch):
    monkeypatch.setattr(room_module, "_PATIENCE_S", 0.01)

    async def scene():
        room = Room(10, slow_rate=100)
        quick, done = _Client(room, 200), _Client(room, 1)
        await quick.take(5)
        await done.take(5)
        done.stop()
        waiting = asyncio.create_task(room.take(5))
        while not room.is_short:
            await asyncio.sleep(0.01)
        quick.close()
        await waiting
        return quick.is_ended, done.is_ended, room.is_short

    assert _run(scene) == (False, False, False)


def test_who_waits_for_room_is_not_slow_for_that(monkeypatch):
    monkeypatch.setattr(room_module, "_START_S", 0.0)

    async def scene():
        room = Room(10)
        hold = Hold(room, lambda: None)
        hold.begin()
        hold.move(1000)
        await room.take(10)
        waiting = asyncio.create_task(hold.take(1))
        await asyncio.sleep(0.2)
        room.give(10)
        await waiting
        return hold.rate()

    assert _run(scene) > 1000 / 0.2
