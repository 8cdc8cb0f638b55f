"""What was asked before the engine's process was lost is asked again; what was shown is not."""

from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from pandagpt.engine.request import Delta, Embeddings, EmbedRequest, GenerateRequest
from pandagpt.engine.stream import DeltaStream
from pandagpt.errors import EngineLost
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
    monkeypatch.setattr("pandagpt.api.generation.RESTART_SECONDS", 0.05)
    engine.scripts = ([LOST], WHOLE)
    engine.is_ready = False
    assert_error(await client.post(CHAT, json=HELLO), 503, "server_overloaded")
