"""The worker: threads, queues and streams around the engine. Its face is asyncio."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace

import numpy as np
import pytest
from torch import Tensor

from pandagpt.engine.config import EngineConfig
from pandagpt.engine.engine import Engine
from pandagpt.engine.request import Delta, GenerateRequest, MediaInput, SamplingParams
from pandagpt.engine.runner import Runner
from pandagpt.engine.scheduler import Plan
from pandagpt.engine.worker import Worker
from pandagpt.errors import ContextLengthExceeded, EngineFailure, Overloaded
from pandagpt.media.modality import Modality
from pandagpt.model.pandagpt import PandaGPT
from pandagpt.model.prompt import MediaSlot, Prompt

pytestmark = pytest.mark.anyio
CONFIG = EngineConfig(max_rows=4, max_queue=2, max_step_tokens=16, num_threads=1)
GREEDY = SamplingParams(max_tokens=10, temperature=0.0, ignore_eos=True)
ENDLESS = replace(GREEDY, max_tokens=200)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def worker(model: PandaGPT) -> Iterator[Worker]:
    worker = Worker(model, CONFIG)
    worker.start()
    assert worker.wait_until_ready(timeout_seconds=30)
    yield worker
    worker.close()


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


async def settled(worker: Worker) -> None:
    """A request that is answered only after everything before it has been handled."""
    await tokens(worker.generate(request("last", replace(GREEDY, max_tokens=1))))


async def test_a_request_is_answered(worker: Worker) -> None:
    deltas = [delta async for delta in worker.generate(request("hello"))]
    assert deltas[-1].finish_reason == "length"
    assert all(delta.finish_reason is None for delta in deltas[:-1])
    assert sum(len(delta.token_ids) for delta in deltas) == 10


async def test_many_at_once_are_answered_as_alone(worker: Worker) -> None:
    names = [f"request {i}" for i in range(6)]
    alone = [await tokens(worker.generate(request(name))) for name in names]
    streams = [worker.generate(request(name)) for name in names]
    assert await asyncio.gather(*map(tokens, streams)) == alone


async def test_media_are_encoded_on_the_way(worker: Worker) -> None:
    first = await tokens(worker.generate(with_picture("a", 0.5)))
    again = await tokens(worker.generate(with_picture("b", 0.5)))
    assert len(first) == 10
    assert again == first


async def test_every_choice_ends(worker: Worker) -> None:
    ended = [
        delta.index
        async for delta in worker.generate(request("three", n=3))
        if delta.finish_reason is not None
    ]
    assert sorted(ended) == [0, 1, 2]


async def test_a_slow_reader_finds_deltas_merged(worker: Worker) -> None:
    expected = await tokens(worker.generate(request("hello")))
    stream = worker.generate(request("hello"))
    while not stream.is_over:
        await asyncio.sleep(0.01)
    deltas = [delta async for delta in stream]
    assert len(deltas) == 1
    assert list(deltas[0].token_ids) == expected
    assert deltas[0].finish_reason == "length"


async def test_a_full_queue_refuses_at_once(worker: Worker) -> None:
    streams = [worker.generate(request(str(i), ENDLESS)) for i in range(6)]
    with pytest.raises(Overloaded, match="queue is full"):
        worker.generate(request("one too many"))
    for stream in streams:
        await stream.aclose()
    assert len(await tokens(worker.generate(request("room again")))) == 10


async def test_a_prompt_too_long_is_refused_at_once(worker: Worker, model: PandaGPT) -> None:
    with pytest.raises(ContextLengthExceeded):
        worker.generate(replace(request("a"), prompt=Prompt((1,) * model.max_model_len)))
    assert worker.num_requests == 0


@pytest.mark.parametrize("num_running", [1, 6])
async def test_closing_a_stream_frees_its_row(worker: Worker, num_running: int) -> None:
    """With six, two of them are waiting for a row."""
    streams = [worker.generate(request(str(i), ENDLESS)) for i in range(num_running)]
    async with aclosing(streams[-1]), aclosing(streams[0]) as first:
        async for _ in first:
            break
    for stream in streams:
        await stream.aclose()
    assert worker.num_requests == 0
    assert [delta async for delta in streams[0]] == []
    await settled(worker)


async def test_cancelling_a_reader_aborts(worker: Worker) -> None:
    task = asyncio.create_task(tokens(worker.generate(request("a", ENDLESS))))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert worker.num_requests == 0


async def test_dropping_a_stream_aborts(worker: Worker) -> None:
    async for _ in worker.generate(request("a", ENDLESS)):
        break
    gc.collect()
    assert worker.num_requests == 0
    await settled(worker)


async def test_aborted_requests_make_no_more_steps(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: list[Engine] = []
    step = Engine.step
    monkeypatch.setattr(Engine, "step", lambda self: (engines.append(self), step(self))[1])
    stream = worker.generate(request("a", ENDLESS))
    async for _ in stream:
        break
    await stream.aclose()
    await settled(worker)
    assert engines[-1].num_requests == 0
    assert not engines[-1].has_work


async def test_a_fault_in_the_step_itself_ends_no_thread(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = await tokens(worker.generate(request("hello")))

    def broken(self: Engine) -> None:
        raise RuntimeError("injected")

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "step", broken)
        with pytest.raises(EngineFailure):
            await tokens(worker.generate(request("unlucky")))
    assert await tokens(worker.generate(request("hello"))) == expected


async def test_draining_lets_the_accepted_finish(worker: Worker) -> None:
    reader = asyncio.create_task(tokens(worker.generate(request("a"))))
    await asyncio.sleep(0)
    assert await worker.drain(timeout_seconds=20)
    assert len(await reader) == 10
    assert not worker.is_ready
    with pytest.raises(Overloaded, match="shutting down"):
        worker.generate(request("late"))


async def test_draining_gives_up_in_time(worker: Worker) -> None:
    stream = worker.generate(request("a", ENDLESS))
    assert not await worker.drain(timeout_seconds=0.0)
    await stream.aclose()


async def test_closing_fails_what_is_open(worker: Worker) -> None:
    stream = worker.generate(request("a", ENDLESS))
    await asyncio.to_thread(worker.close)
    with pytest.raises(Overloaded):
        await tokens(stream)


async def test_not_ready_before_the_start(model: PandaGPT) -> None:
    worker = Worker(model, CONFIG)
    assert not worker.is_ready
    with pytest.raises(Overloaded, match="still loading"):
        worker.generate(request("early"))


async def test_a_request_that_makes_no_sense_fails_alone(worker: Worker) -> None:
    """The edge refuses an empty stop string; if it did not, nobody else would notice."""
    good = worker.generate(request("good"))
    bad = worker.generate(request("bad", replace(GREEDY, stop=("",))))
    with pytest.raises(EngineFailure):
        await tokens(bad)
    assert len(await tokens(good)) == 10


async def test_a_shorter_context_by_config(model: PandaGPT) -> None:
    worker = Worker(model, replace(CONFIG, max_model_len=20))
    worker.start()
    assert worker.wait_until_ready(timeout_seconds=30)
    ids = await tokens(worker.generate(request("hello", ENDLESS)))
    assert len(ids) == 20 - len(request("hello").prompt)
    with pytest.raises(ContextLengthExceeded):
        worker.generate(request("x" * 30))
    worker.close()


async def test_a_model_that_cannot_run_is_never_ready(
    model: PandaGPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(runner: Runner, plan: Plan) -> Tensor:
        raise RuntimeError("injected")

    monkeypatch.setattr(Runner, "forward", broken)
    worker = Worker(model, CONFIG)
    worker.start()
    assert not worker.wait_until_ready(timeout_seconds=30)
    assert not worker.is_ready
    worker.close()


async def test_closing_fails_what_the_engine_has_not_yet_seen(worker: Worker) -> None:
    stream = worker.generate(request("a", ENDLESS))
    worker.close()
    with pytest.raises(Overloaded, match="shutting down"):
        await tokens(stream)


async def test_no_memory_for_the_cache_is_known_at_once(
    model: PandaGPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(runner: Runner, model: PandaGPT, config: EngineConfig) -> None:
        raise MemoryError("injected")

    monkeypatch.setattr(Runner, "__init__", broken)
    worker = Worker(model, CONFIG)
    worker.start()
    assert not worker.wait_until_ready(timeout_seconds=30)
    worker.close()


async def test_an_engine_that_cannot_begin_anew_fails_what_is_open(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Engine | Runner) -> None:
        raise RuntimeError("injected")

    monkeypatch.setattr(Engine, "step", broken)
    monkeypatch.setattr(Runner, "reset", broken)
    stream = worker.generate(request("unlucky"))
    with pytest.raises((EngineFailure, Overloaded)):
        await tokens(stream)
    assert not worker.is_ready
