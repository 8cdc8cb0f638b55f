"""Silence is noticed; what only the listener has missed is no silence."""

import asyncio
import time

import pytest

from pandagpt.engine.heartbeat import Heartbeat

pytestmark = pytest.mark.anyio
SECONDS = 0.2
"""Ticks of 0.05 s, of which 8 are borne."""


@pytest.fixture
def silences() -> list[float]:
    return []


@pytest.fixture
def heartbeat(silences: list[float]) -> Heartbeat:
    return Heartbeat(SECONDS, lambda: silences.append(time.monotonic()))


async def test_silence_is_told_once(heartbeat: Heartbeat, silences: list[float]) -> None:
    started_at = time.monotonic()
    heartbeat.listen(asyncio.get_running_loop())
    await asyncio.sleep(1.2)
    (told_at,) = silences
    assert 2 * SECONDS <= told_at - started_at < 1


async def test_signs_of_life_rarer_than_ticks(heartbeat: Heartbeat, silences: list[float]) -> None:
    heartbeat.listen(asyncio.get_running_loop())
    for _ in range(5):
        await asyncio.sleep(SECONDS)
        heartbeat.heard()
    assert not silences


async def test_a_listener_that_was_held_up(heartbeat: Heartbeat, silences: list[float]) -> None:
    heartbeat.listen(asyncio.get_running_loop())
    time.sleep(5 * SECONDS)
    await asyncio.sleep(0.01)
    heartbeat.heard()
    await asyncio.sleep(SECONDS)
    assert not silences


async def test_stopped(heartbeat: Heartbeat, silences: list[float]) -> None:
    heartbeat.listen(asyncio.get_running_loop())
    heartbeat.stop()
    never = Heartbeat(0, lambda: silences.append(0))
    never.listen(asyncio.get_running_loop())
    await asyncio.sleep(3 * SECONDS)
    assert not silences
