"""Room: in turn, never more than there is, and given back whatever happens."""

import asyncio

import pytest

from pandagpt.api.room import Room


async def hold(room: Room, num_bytes: int, log: list[int], end: asyncio.Event) -> None:
    async with room.held(num_bytes):
        log.append(num_bytes)
        await end.wait()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_first_come_first_served() -> None:
    """A small one does not overtake a large one, or the large one would never get in."""
    room, log = Room(10, 1), list[int]()
    ends = [asyncio.Event() for _ in range(4)]
    sizes = zip((6, 5, 4, 0), ends, strict=True)
    tasks = [asyncio.create_task(hold(room, size, log, end)) for size, end in sizes]
    await settle()
    assert log == [6, 0]
    ends[0].set()
    await settle()
    assert log == [6, 0, 5, 4]
    assert room.num_free == 1
    for end in ends:
        end.set()
    await asyncio.gather(*tasks)
    assert room.num_free == 10


async def test_what_is_larger_than_all_has_it_alone() -> None:
    room = Room(10, 1)
    async with room.held(100):
        assert room.num_free == 0
    assert room.num_free == 10


async def test_who_leaves_while_waiting_lets_the_next_in() -> None:
    room, log, end = Room(10, 1), list[int](), asyncio.Event()
    async with room.held(5):
        leaving = asyncio.create_task(hold(room, 10, log, end))
        following = asyncio.create_task(hold(room, 4, log, end))
        await settle()
        assert log == []
        leaving.cancel()
        await settle()
        assert log == [4]
    end.set()
    await asyncio.gather(leaving, following, return_exceptions=True)
    assert room.num_free == 10


async def test_an_error_gives_it_back() -> None:
    room = Room(10, 1)
    with pytest.raises(ZeroDivisionError):
        async with room.held(7):
            raise ZeroDivisionError
    assert room.num_free == 10
