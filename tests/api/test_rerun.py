"""What was asked before the engine's process was lost is asked again; what was shown is not."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from starlette.types import Message

from pandagpt.api.generation import ClientGone, Usage, start, unless_gone
from pandagpt.engine.request import (
    Delta,
    Embeddings,
    EmbedRequest,
    GenerateRequest,
    SamplingParams,
)
from pandagpt.engine.stream import DeltaStream
from pandagpt.errors import EngineLost, Overloaded
from pandagpt.model.prompt import Prompt
from tests.api.conftest import ScriptedEngine
from tests.api.test_errors import CHAT, HELLO, assert_error

LOST = EngineLost("lost")
WHOLE = [Delta(0, "Hi", (1,)), Delta(0, " there.", (2,), (), "stop")]


@dataclass
class LosableEngine(ScriptedEngine):
    """Each request is answered by the next of `scripts`."""

    scripts: tuple[Any, ...] = ()

    def generate(self, request: GenerateRequest) -> DeltaStream:
        self.script = self.scripts[len(self.requests)]
        return super().generate(request)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        raise NotImplementedError


@pytest.fixture
def engine() -> LosableEngine:
    return LosableEngine()


@pytest.mark.parametrize("stream", [False, True])
async def test_before_the_first_token(
    client: httpx.AsyncClient, engine: LosableEngine, stream: bool
) -> None:
    engine.scripts = ([LOST], WHOLE)
    response = await client.post(CHAT, json=HELLO | {"stream": stream})
    assert response.status_code == 200
    assert "Hi there." in response.text
    assert len(engine.requests) == 2


async def test_a_whole_answer_in_the_middle(
    client: httpx.AsyncClient, engine: LosableEngine
) -> None:
    engine.scripts = ([Delta(0, "No", (1,)), LOST], WHOLE)
    for path, body in ((CHAT, HELLO), ("/v1/responses", {"input": "Hello"})):
        engine.requests.clear()
        response = await client.post(path, json=body)
        assert response.status_code == 200
        assert "Hi there." in response.text
        assert "No" not in response.text
        assert len(engine.requests) == 2
    usage = response.json()["usage"]
    assert usage["output_tokens"] == 2


async def test_several_choices(client: httpx.AsyncClient, engine: LosableEngine) -> None:
    both = [*WHOLE, Delta(1, "Oh.", (3,), (), "length")]
    engine.scripts = ([both[2], LOST], both)
    answer = (await client.post(CHAT, json=HELLO | {"n": 2})).json()
    texts = [choice["message"]["content"] for choice in answer["choices"]]
    assert texts == ["Hi there.", "Oh."]
    assert answer["usage"]["completion_tokens"] == 3


async def test_a_stream_in_the_middle(client: httpx.AsyncClient, engine: LosableEngine) -> None:
    engine.scripts = ([Delta(0, "No", (1,)), LOST], WHOLE)
    response = await client.post(CHAT, json=HELLO | {"stream": True})
    assert "internal_error" in response.text
    assert len(engine.requests) == 1


async def test_once_only(client: httpx.AsyncClient, engine: LosableEngine) -> None:
    engine.scripts = ([LOST], [LOST], WHOLE)
    assert_error(await client.post(CHAT, json=HELLO), 500, "internal_error")
    assert len(engine.requests) == 2


async def test_an_engine_that_does_not_come_back(
    client: httpx.AsyncClient, engine: LosableEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pandagpt.api.generation.HOLD_SECONDS", 0.05)
    engine.scripts = (WHOLE,)
    engine.is_restarting = True
    engine.refusal = Overloaded("being restarted", 5)
    refused = await client.post(CHAT, json=HELLO)
    assert_error(refused, 503, "server_overloaded")
    assert refused.headers["retry-after"] == "5"


async def test_a_new_request_waits_for_the_next_engine(
    client: httpx.AsyncClient, engine: LosableEngine
) -> None:
    engine.scripts = (WHOLE,)
    engine.is_restarting = True
    asked = asyncio.create_task(client.post(CHAT, json=HELLO))
    await asyncio.sleep(0.2)
    assert not asked.done()
    assert not engine.requests
    engine.is_restarting = False
    assert (await asked).status_code == 200


async def test_who_leaves_waits_no_more(engine: LosableEngine) -> None:
    engine.scripts = (WHOLE,)
    engine.is_restarting = True
    request = GenerateRequest("a", Prompt((1,)), (), SamplingParams(1))
    asked = start(engine, [request], Usage(1, Counter()), is_whole=True)
    with pytest.raises(ClientGone):
        await unless_gone(disconnect, asked)
    engine.is_restarting = False
    await asyncio.sleep(0.1)
    assert not engine.requests


async def disconnect() -> Message:
    await asyncio.sleep(0.05)
    return {"type": "http.disconnect"}
