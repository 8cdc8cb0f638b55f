"""The engine as asyncio sees it: streams, refusals, aborts and ends."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace

import numpy as np
import pytest
from torch import Tensor

from pandagpt.engine.client import EngineClient
from pandagpt.engine.config import EngineConfig
from pandagpt.engine.engine import Engine
from pandagpt.engine.local import LocalEngine
from pandagpt.engine.request import (
    Delta,
    EmbedRequest,
    GenerateRequest,
    MediaInput,
    SamplingParams,
)
from pandagpt.engine.runner import Runner
from pandagpt.engine.scheduler import Plan
from pandagpt.errors import (
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineFailure,
    Overloaded,
    ShuttingDown,
)
from pandagpt.media.modality import Modality
from pandagpt.model.pandagpt import PandaGPT
from pandagpt.model.prompt import MediaSlot, Prompt

pytestmark = pytest.mark.anyio
CONFIG = EngineConfig(max_rows=4, max_queue=2, max_step_tokens=16, num_threads=1)
GREEDY = SamplingParams(max_tokens=10, temperature=0.0, ignore_eos=True)
ENDLESS = replace(GREEDY, max_tokens=200)


@pytest.fixture
def client(model: PandaGPT) -> Iterator[EngineClient]:
    client = EngineClient(LocalEngine(model, CONFIG), CONFIG)
    yield client
    client.close()


def request(name: str, params: SamplingParams = GREEDY, n: int = 1) -> GenerateRequest:
    ids = (1, *(3 + byte for byte in name.encode()))
    return GenerateRequest(name, Prompt(ids), (), params, n)


def with_picture(name: str, value: float) -> GenerateRequest:
    array = np.full((3, 224, 224), value, dtype=np.float32)
    medium = MediaInput(Modality.IMAGE, array, f"picture of {value}")
    return replace(
        request(name), prompt=Prompt((1, 0, 5), ((1, MediaSlot((0,))),)), media=(medium,)
    )


async def tokens(stream: AsyncIterator[Delta]) -> list[int]:
    return [token_id async for delta in stream for token_id in delta.token_ids]


async def settled(client: EngineClient) -> None:
    """A request that is answered only after everything before it has been handled."""
    await tokens(client.generate(request("last", replace(GREEDY, max_tokens=1))))


async def test_a_request_is_answered(client: EngineClient) -> None:
    deltas = [delta async for delta in client.generate(request("hello"))]
    assert deltas[-1].finish_reason == "length"
    assert all(delta.finish_reason is None for delta in deltas[:-1])
    assert sum(len(delta.token_ids) for delta in deltas) == 10


async def test_many_at_once_are_answered_as_alone(client: EngineClient) -> None:
    names = [f"request {i}" for i in range(6)]
    alone = [await tokens(client.generate(request(name))) for name in names]
    streams = [client.generate(request(name)) for name in names]
    assert await asyncio.gather(*map(tokens, streams)) == alone


async def test_media_are_encoded_on_the_way(client: EngineClient) -> None:
    first = await tokens(client.generate(with_picture("a", 0.5)))
    again = await tokens(client.generate(with_picture("b", 0.5)))
    assert len(first) == 10
    assert again == first


async def test_every_choice_ends(client: EngineClient) -> None:
    ended = [
        delta.index
        async for delta in client.generate(request("three", n=3))
        if delta.finish_reason is not None
    ]
    assert sorted(ended) == [0, 1, 2]


async def test_a_slow_reader_finds_deltas_merged(client: EngineClient) -> None:
    expected = await tokens(client.generate(request("hello")))
    stream = client.generate(request("hello"))
    while not stream.is_over:
        await asyncio.sleep(0.01)
    deltas = [delta async for delta in stream]
    assert len(deltas) == 1
    assert list(deltas[0].token_ids) == expected
    assert deltas[0].finish_reason == "length"


async def test_a_full_queue_refuses_at_once(client: EngineClient) -> None:
    streams = [client.generate(request(str(i), ENDLESS)) for i in range(6)]
    with pytest.raises(Overloaded, match="queue is full"):
        client.generate(request("one too many"))
    for stream in streams:
        await stream.aclose()
    assert len(await tokens(client.generate(request("room again")))) == 10


async def test_a_prompt_too_long_is_refused_at_once(client: EngineClient, model: PandaGPT) -> None:
    with pytest.raises(ContextLengthExceeded):
        client.generate(replace(request("a"), prompt=Prompt((1,) * model.max_model_len)))
    assert client.num_requests == 0


@pytest.mark.parametrize("num_running", [1, 6])
async def test_closing_a_stream_frees_its_row(client: EngineClient, num_running: int) -> None:
    """With six, two of them are waiting for a row."""
    streams = [client.generate(request(str(i), ENDLESS)) for i in range(num_running)]
    async with aclosing(streams[-1]), aclosing(streams[0]) as first:
        async for _ in first:
            break
    for stream in streams:
        await stream.aclose()
    assert client.num_requests == 0
    assert [delta async for delta in streams[0]] == []
    await settled(client)


def pictures(name: str, *values: float) -> EmbedRequest:
    return EmbedRequest(name, tuple(with_picture("a", value).media[0] for value in values))


async def test_embeddings(client: EngineClient) -> None:
    embeddings = await client.embed(pictures("a", 0.5, 0.25, 0.5))
    array = embeddings.array
    assert np.array_equal(array[0], array[2])
    assert not np.array_equal(array[0], array[1])
    assert client.num_requests == 0
    with pytest.raises(EngineFailure, match="could not be encoded"):
        await client.embed(pictures("b", float("nan")))
    assert client.num_requests == 0


async def test_cancelled_embeddings_are_aborted(client: EngineClient) -> None:
    task = asyncio.create_task(client.embed(pictures("a", *np.linspace(0, 1, 30))))
    await asyncio.sleep(0)
    assert client.num_requests == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert client.num_requests == 0
    await settled(client)


async def test_embeddings_wait_in_the_same_queue(client: EngineClient) -> None:
    streams = [client.generate(request(str(i), ENDLESS)) for i in range(6)]
    with pytest.raises(Overloaded, match="queue is full"):
        await client.embed(pictures("a", 0.5))
    for stream in streams:
        await stream.aclose()


async def test_cancelling_a_reader_aborts(client: EngineClient) -> None:
    task = asyncio.create_task(tokens(client.generate(request("a", ENDLESS))))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert client.num_requests == 0


async def test_dropping_a_stream_aborts(client: EngineClient) -> None:
    async for _ in client.generate(request("a", ENDLESS)):
        break
    gc.collect()
    assert client.num_requests == 0
    await settled(client)


async def test_aborted_requests_make_no_more_steps(
    client: EngineClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: list[Engine] = []
    step = Engine.step
    monkeypatch.setattr(Engine, "step", lambda self: (engines.append(self), step(self))[1])
    stream = client.generate(request("a", ENDLESS))
    async for _ in stream:
        break
    await stream.aclose()
    await settled(client)
    assert engines[-1].num_requests == 0
    assert not engines[-1].has_work


async def test_a_fault_in_the_step_itself_ends_no_thread(
    client: EngineClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = await tokens(client.generate(request("hello")))

    def broken(self: Engine) -> None:
        raise RuntimeError("injected")

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "step", broken)
        with pytest.raises(EngineFailure):
            await tokens(client.generate(request("unlucky")))
    assert await tokens(client.generate(request("hello"))) == expected


async def test_what_is_open_can_be_ended(client: EngineClient) -> None:
    stream = client.generate(request("a", ENDLESS))
    await anext(stream)
    client.fail_open(ShuttingDown())
    with pytest.raises(ShuttingDown):
        await tokens(stream)
    assert client.num_requests == 0
    with pytest.raises(ShuttingDown):
        client.generate(request("late"))


async def test_a_request_has_its_time(client: EngineClient) -> None:
    timed = EngineClient(client._link, replace(CONFIG, max_request_seconds=0.05))
    with pytest.raises(DeadlineExceeded, match=r"0\.05 s"):
        await tokens(timed.generate(request("a", ENDLESS)))
    assert len(await tokens(timed.generate(request("b", replace(GREEDY, max_tokens=1))))) == 1
    assert (timed.num_requests, timed._deadlines, timed._waiting_tokens) == (0, {}, {})


async def test_prompts_that_wait_are_bounded(client: EngineClient) -> None:
    narrow = EngineClient(client._link, replace(CONFIG, max_queue_tokens=10))
    first = narrow.generate(request("more than ten", ENDLESS))
    with pytest.raises(Overloaded, match="14 tokens wait"):
        narrow.generate(request("a"))
    await anext(first)
    second = narrow.generate(request("a"))
    first.close()
    assert len(await tokens(second)) == 10


async def test_nobody_waits_too_long(model: PandaGPT) -> None:
    config = replace(CONFIG, max_rows=1, max_queue_seconds=0.05)
    client = EngineClient(LocalEngine(model, config), config)
    try:
        running = client.generate(request("a", ENDLESS))
        await anext(running)
        with pytest.raises(Overloaded, match="waited longer than"):
            await tokens(client.generate(request("b", ENDLESS)))
        running.close()
    finally:
        client.close()


async def test_closing_fails_what_is_open(client: EngineClient) -> None:
    stream = client.generate(request("a", ENDLESS))
    await asyncio.to_thread(client.close)
    with pytest.raises(Overloaded):
        await tokens(stream)


async def test_a_request_that_makes_no_sense_fails_alone(client: EngineClient) -> None:
    """The edge refuses an empty stop string; if it did not, nobody else would notice."""
    good = client.generate(request("good"))
    bad = client.generate(request("bad", replace(GREEDY, stop=("",))))
    with pytest.raises(EngineFailure):
        await tokens(bad)
    assert len(await tokens(good)) == 10


async def test_a_shorter_context_by_config(model: PandaGPT) -> None:
    config = replace(CONFIG, max_model_len=20)
    client = EngineClient(LocalEngine(model, config), config)
    ids = await tokens(client.generate(request("hello", ENDLESS)))
    assert len(ids) == 20 - len(request("hello").prompt)
    with pytest.raises(ContextLengthExceeded):
        client.generate(request("x" * 30))
    client.close()


async def test_a_model_that_cannot_run_is_never_ready(
    model: PandaGPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(runner: Runner, plan: Plan) -> Tensor:
        raise RuntimeError("injected")

    monkeypatch.setattr(Runner, "forward", broken)
    with pytest.raises(EngineFailure, match="did not start"):
        LocalEngine(model, CONFIG)


async def test_closing_fails_what_the_engine_has_not_yet_seen(client: EngineClient) -> None:
    stream = client.generate(request("a", ENDLESS))
    client.close()
    with pytest.raises(Overloaded, match="shutting down"):
        await tokens(stream)


async def test_an_engine_that_cannot_begin_anew_fails_what_is_open(
    client: EngineClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Engine | Runner) -> None:
        raise RuntimeError("injected")

    monkeypatch.setattr(Engine, "step", broken)
    monkeypatch.setattr(Runner, "reset", broken)
    stream = client.generate(request("unlucky"))
    with pytest.raises((EngineFailure, Overloaded)):
        await tokens(stream)
    assert not client.is_ready
    with pytest.raises(Overloaded, match="being restarted"):
        client.generate(request("late"))


async def test_one_loop_after_another(model: PandaGPT) -> None:
    client = EngineClient(LocalEngine(model, CONFIG), CONFIG)

    def answer() -> list[int]:
        return asyncio.run(tokens_of(client, "hello"))

    first = await asyncio.to_thread(answer)
    assert await asyncio.to_thread(answer) == first
    client.close()


async def tokens_of(client: EngineClient, name: str) -> list[int]:
    return await tokens(client.generate(request(name)))
