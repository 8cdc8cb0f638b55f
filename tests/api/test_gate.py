"""New work is let in or refused before its body is read: shares, rates, the end of the server."""

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from pandagpt.api.app import drain
from pandagpt.api.serving import ServedModel, Serving
from pandagpt.engine.request import Delta
from pandagpt.settings import Settings
from tests.api.conftest import Connect, ScriptedEngine
from tests.api.test_errors import CHAT, HELLO, assert_error

FIRST, SECOND = ({"authorization": f"Bearer {key}"} for key in ("first", "second"))


async def asked(
    client: httpx.AsyncClient, headers: dict[str, str] | None = None
) -> asyncio.Task[httpx.Response]:
    task = asyncio.create_task(client.post(CHAT, json=HELLO, headers=headers))
    await asyncio.sleep(0.05)
    return task


async def test_requests_a_minute(connect: Connect) -> None:
    settings = Settings.model_validate({"api_key": "first,second", "requests_per_minute": 2})
    async with connect(settings) as client:
        for left in ("1", "0"):
            response = await client.post(CHAT, json=HELLO, headers=FIRST)
            assert response.status_code == 200
            assert response.headers["x-ratelimit-remaining-requests"] == left
        refused = await client.post(CHAT, json=HELLO, headers=FIRST)
        assert_error(refused, 429, "rate_limit_exceeded")
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert refused.headers["x-ratelimit-limit-requests"] == "2"
        assert (await client.post(CHAT, json=HELLO, headers=SECOND)).status_code == 200
        assert (await client.get("/v1/models", headers=FIRST)).status_code == 200


async def test_at_once(connect: Connect, engine: ScriptedEngine) -> None:
    engine.script = []
    settings = Settings.model_validate({"api_key": "first,second", "max_concurrent_per_key": 1})
    async with connect(settings) as client:
        first = await asked(client, FIRST)
        refused = await client.post(CHAT, json=HELLO, headers=FIRST)
        assert_error(refused, 429, "rate_limit_exceeded")
        assert refused.headers["retry-after"] == "1"
        engine.script = [Delta(0, "Hi.", (1,), (), "stop")]
        assert (await client.post(CHAT, json=HELLO, headers=SECOND)).status_code == 200
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert (await client.post(CHAT, json=HELLO, headers=FIRST)).status_code == 200


async def test_a_full_queue_refuses_at_once_and_without_the_body(
    connect: Connect, engine: ScriptedEngine
) -> None:
    engine.script = []

    async def never() -> AsyncIterator[bytes]:
        await asyncio.sleep(60)
        yield b""

    async with connect(Settings(max_queue=0)) as client:
        waiting = [await asked(client) for _ in range(2)]
        client_app = client._transport
        assert isinstance(client_app, httpx.ASGITransport)
        state = client_app.app.state.panda  # ty: ignore[missing-attribute]
        object.__setattr__(state.holder.serving, "num_rows", 2)
        started_at = time.perf_counter()
        refused = await client.post(CHAT, content=never())
        assert time.perf_counter() - started_at < 0.1
        assert_error(refused, 503, "server_overloaded")
        assert refused.headers["retry-after"]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert state.places.num_open == 0


async def test_the_end(connect: Connect, engine: ScriptedEngine) -> None:
    engine.script = []
    async with connect(Settings(drain_s=0.2)) as client:
        transport = client._transport
        assert isinstance(transport, httpx.ASGITransport)
        app = transport.app
        waiting = await asked(client)
        draining = asyncio.create_task(drain(app))  # ty: ignore[invalid-argument-type]
        await asyncio.sleep(0.05)
        for refused in (await client.get("/ready"), await client.post(CHAT, json=HELLO)):
            assert_error(refused, 503, "server_overloaded")
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.headers["connection"] == "close"
        assert (await client.get("/health")).status_code == 200
        assert not waiting.done()
        assert_error(await waiting, 503, "server_overloaded")
        await asyncio.wait_for(draining, 0.5)


def test_serving_tells_its_rows(engine: ScriptedEngine, served_model: ServedModel) -> None:
    assert Serving(engine, served_model, num_rows=7).num_rows == 7


@pytest.mark.parametrize("stream", [False, True])
async def test_an_open_answer_at_the_end(
    connect: Connect, engine: ScriptedEngine, stream: bool
) -> None:
    engine.script = [Delta(0, "Hi", (1,))]
    async with connect(Settings(drain_s=0)) as client:
        transport = client._transport
        assert isinstance(transport, httpx.ASGITransport)
        posting = asyncio.create_task(client.post(CHAT, json=HELLO | {"stream": stream}))
        await asyncio.sleep(0.05)
        await drain(transport.app)  # ty: ignore[invalid-argument-type]
        response = await posting
        if stream:
            *_, error, done = [line for line in response.text.splitlines() if line]
            assert "server_overloaded" in error
            assert done == "data: [DONE]"
        else:
            assert_error(response, 503, "server_overloaded")
