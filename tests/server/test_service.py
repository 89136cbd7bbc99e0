import asyncio

import pytest

from u2net.server.service import Room


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


def test_who_gives_up_when_it_was_just_served_gives_it_back():
    async def scene():
        room = Room(10)
        await room.take(10)
        waiting = asyncio.create_task(room.take(4))
        await asyncio.sleep(0)
        room.give(10)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return room.free

    assert _run(scene) == 10


def test_who_gives_up_while_others_give_back_is_in_nobodys_way():
    async def scene():
        room = Room(10)
        await room.take(10)
        waiting = asyncio.create_task(room.take(4))
        await asyncio.sleep(0)
        waiting.cancel()
        room.give(10)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return room.free

    assert _run(scene) == 10
