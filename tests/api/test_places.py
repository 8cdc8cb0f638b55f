"""Who may come in: fairly between callers, and nothing leaks."""

import asyncio
from contextlib import ExitStack

import pytest

from pandagpt.api.places import PlaceLimits, Places
from pandagpt.errors import Overloaded, RateLimited

ROWS = 2


def fill(places: Places, held: ExitStack, caller: str) -> int:
    """As many as come in."""
    for count in range(100):
        try:
            held.enter_context(places.taken(caller, ROWS))
        except (Overloaded, RateLimited):
            return count
    raise AssertionError("no bound")


def test_one_caller_may_fill_the_queue() -> None:
    places = Places(PlaceLimits(max_queue=4))
    with ExitStack() as held:
        assert fill(places, held, "") == ROWS + 4
        with pytest.raises(Overloaded, match="queue is full"), places.taken("", ROWS):
            pass
        assert places.num_open == ROWS + 4
    assert places.num_open == 0


def test_nobody_is_kept_out_by_others() -> None:
    places = Places(PlaceLimits(max_queue=60, has_callers=True))
    with ExitStack() as held:
        assert fill(places, held, "first") == ROWS + 30
        assert fill(places, held, "second") == 15
        assert fill(places, held, "third") >= 7
        with pytest.raises(RateLimited, match="your share"), places.taken("first", ROWS):
            pass
        with places.taken("fourth", ROWS):
            pass


def test_rows_are_not_a_queue() -> None:
    places = Places(PlaceLimits(max_queue=0, has_callers=True))
    with ExitStack() as held:
        assert fill(places, held, "first") == ROWS


def test_at_once() -> None:
    places = Places(PlaceLimits(max_queue=9, max_per_caller=3))
    with ExitStack() as held:
        assert fill(places, held, "first") == 3
        assert fill(places, held, "second") == 3
    with places.taken("first", ROWS):
        pass


async def test_all_left() -> None:
    places = Places(PlaceLimits(max_queue=9))
    assert await places.all_left(0)
    with ExitStack() as held:
        held.enter_context(places.taken("first", ROWS))
        assert not await places.all_left(0.01)
        waiting = asyncio.create_task(places.all_left(5))
        await asyncio.sleep(0)
        held.close()
        assert await waiting
