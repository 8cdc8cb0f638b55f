"""A lost engine is replaced: what was open fails at once, what comes later is answered."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from pandagpt.engine import supervisor
from pandagpt.engine.client import EngineClient
from pandagpt.engine.supervisor import SupervisedEngine
from pandagpt.errors import CheckpointError, EngineLost, Overloaded
from tests.engine.test_process import (
    CONFIG,
    ENDLESS,
    PATIENCE_SECONDS,
    answer,
    asked,
    deltas,
    has_ended,
    start_of,
    wait_until,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(golden_bundle: Path) -> AsyncIterator[EngineClient]:
    engine = SupervisedEngine(start_of(golden_bundle))
    await asyncio.to_thread(engine.wait_until_ready)
    client = EngineClient(engine, CONFIG)
    yield client
    client.close()
    await asyncio.sleep(0.05)


def supervised(client: EngineClient) -> SupervisedEngine:
    assert isinstance(client._link, SupervisedEngine)
    return client._link


def pid_of(client: EngineClient) -> int:
    return supervised(client)._process._process.pid


async def until_ready(client: EngineClient) -> None:
    async with asyncio.timeout(4 * PATIENCE_SECONDS):
        while not client.is_ready:
            await asyncio.sleep(0.01)


async def test_it_is_replaced(client: EngineClient) -> None:
    expected = await answer(client, asked("hello"))
    for number in range(3):
        stream = client.generate(asked(f"open {number}", ENDLESS))
        await anext(stream)
        os.kill(lost := pid_of(client), signal.SIGKILL)
        with pytest.raises(EngineLost):
            await deltas(stream)
        assert client.is_restarting
        with pytest.raises(Overloaded, match="being restarted"):
            client.generate(asked("meanwhile"))
        await until_ready(client)
        assert pid_of(client) != lost
        assert await answer(client, asked(f"hello {number}")) != []
        assert (await answer(client, asked("hello")))[0] == expected[0]
    assert client.num_requests == 0


async def test_an_idle_one_too(client: EngineClient) -> None:
    """Nobody has asked yet, so no event loop watches its socket."""
    os.kill(pid_of(client), signal.SIGKILL)
    await asyncio.to_thread(wait_until, lambda: not client.is_ready)
    await until_ready(client)
    assert len((await answer(client, asked("hello")))[0]) == 10


async def test_one_that_cannot_start_is_tried_again(
    client: EngineClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = 0
    had_hope: list[bool] = []
    wait_until_ready = supervisor.EngineProcess.wait_until_ready

    def fail_often(self: supervisor.EngineProcess) -> object:
        nonlocal attempts
        attempts += 1
        if attempts < 6:
            had_hope.append(client.is_restarting)
            self._process.kill()
            raise CheckpointError("is gone")
        return wait_until_ready(self)

    monkeypatch.setattr(supervisor, "MAX_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(supervisor.EngineProcess, "wait_until_ready", fail_often)
    os.kill(pid_of(client), signal.SIGKILL)
    await asyncio.to_thread(wait_until, lambda: not client.is_ready)
    await until_ready(client)
    assert attempts == 6
    assert had_hope == [True] * 3 + [False] * 2
    assert len((await answer(client, asked("hello")))[0]) == 10


async def test_closing_meanwhile_leaves_no_process(client: EngineClient) -> None:
    os.kill(lost := pid_of(client), signal.SIGKILL)
    await asyncio.to_thread(wait_until, lambda: pid_of(client) != lost)
    await asyncio.to_thread(client.close)
    assert has_ended(pid_of(client))
    await asyncio.sleep(0.2)
    assert has_ended(pid_of(client))


async def test_a_stopped_one_is_replaced(golden_bundle: Path) -> None:
    """Though nobody asks anything; and not one that only its listener could not hear."""
    config = replace(CONFIG, step_timeout_seconds=0.8)
    engine = SupervisedEngine(start_of(golden_bundle, config))
    await asyncio.to_thread(engine.wait_until_ready)
    client = EngineClient(engine, config)
    client.listen()
    first = pid_of(client)
    time.sleep(2.5)
    await asyncio.sleep(1)
    assert pid_of(client) == first
    os.kill(first, signal.SIGSTOP)
    stopped_at = time.monotonic()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while client.is_ready:
            await asyncio.sleep(0.01)
    assert 1 < time.monotonic() - stopped_at < 5
    assert has_ended(first)
    await until_ready(client)
    assert len((await answer(client, asked("hello")))[0]) == 10
    client.close()
    await asyncio.sleep(0.05)
