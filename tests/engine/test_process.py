"""The engine's own process: the same answers, no orphans, and an end that everybody hears of."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pandagpt.engine.client import EngineClient
from pandagpt.engine.config import EngineConfig
from pandagpt.engine.local import LocalEngine
from pandagpt.engine.messages import Add, Ready, Start, from_frame, to_frame
from pandagpt.engine.process import EngineProcess
from pandagpt.engine.request import Delta, GenerateRequest, MediaInput, SamplingParams
from pandagpt.errors import CheckpointError, EngineFailure, OperatorError, Overloaded
from pandagpt.frames import receive, send
from pandagpt.media.modality import Modality
from pandagpt.model.checkpoint import load_bundle
from pandagpt.model.prompt import MediaSlot, Prompt

pytestmark = pytest.mark.anyio
CONFIG = EngineConfig(max_rows=4, max_queue=2, max_step_tokens=16, num_threads=1)
GREEDY = SamplingParams(max_tokens=10, temperature=0.0, ignore_eos=True, logprobs=2)
ENDLESS = replace(GREEDY, max_tokens=400)
FILM = (15, 3, 2, 224, 224)
PATIENCE_SECONDS = 30


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Uvloop makes a socket that it watches non-blocking, for writers too."""
    return "asyncio", {"use_uvloop": request.param}


def start_of(bundle: Path, config: EngineConfig = CONFIG) -> Start:
    return Start(str(bundle), "cpu", "float32", "none", config, CONFIG.max_rows, "json")


@pytest.fixture(scope="module")
def process(golden_bundle: Path) -> Iterator[EngineProcess]:
    process = EngineProcess(start_of(golden_bundle))
    process.wait_until_ready()
    yield process
    process.close()


@pytest.fixture
def client(process: EngineProcess) -> EngineClient:
    return EngineClient(process, CONFIG)


@pytest.fixture
async def mortal(golden_bundle: Path) -> AsyncIterator[EngineClient]:
    """One that a test may kill."""
    process = EngineProcess(start_of(golden_bundle))
    await asyncio.to_thread(process.wait_until_ready)
    client = EngineClient(process, CONFIG)
    yield client
    client.close()
    await asyncio.sleep(0.05)


def pid_of(client: EngineClient) -> int:
    link = client._link
    assert isinstance(link, EngineProcess)
    return link._process.pid


def asked(name: str, params: SamplingParams = GREEDY) -> GenerateRequest:
    return GenerateRequest(name, Prompt((1, *(3 + byte for byte in name.encode()))), (), params)


def with_film(name: str, value: float) -> GenerateRequest:
    medium = MediaInput(Modality.VIDEO, np.full(FILM, value, dtype=np.float32), f"film of {value}")
    prompt = Prompt((1, 0, 5), ((1, MediaSlot((0,))),))
    return replace(asked(name), prompt=prompt, media=(medium,))


async def deltas(stream: AsyncIterator[Delta]) -> list[Delta]:
    return [delta async for delta in stream]


async def answer(client: EngineClient, request: GenerateRequest) -> tuple[list[int], list[float]]:
    parts = await deltas(client.generate(request))
    ids = [token_id for delta in parts for token_id in delta.token_ids]
    return ids, [logprob.logprob for delta in parts for logprob in delta.logprobs]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def test_answers_are_those_of_this_process(client: EngineClient, golden_bundle: Path) -> None:
    questions = [asked("hello"), asked("you there"), with_film("film", 0.25)]
    model = load_bundle(golden_bundle)
    local = EngineClient(LocalEngine(model, CONFIG), CONFIG)
    expected = [await answer(local, each) for each in questions]
    local.close()
    for each, (ids, logprobs) in zip(questions, expected, strict=True):
        found = await answer(client, replace(each, request_id=f"{each.request_id} again"))
        assert found[0] == ids
        assert found[1] == pytest.approx(logprobs, abs=1e-5)


async def test_a_film_on_its_way_does_not_hold_the_loop_up(
    client: EngineClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody reads while the engine is stopped, so the film cannot be taken."""
    os.kill(pid_of(client), signal.SIGSTOP)
    before = time.perf_counter()
    streams = [client.generate(with_film(f"film {i}", i)) for i in range(3)]
    await asyncio.sleep(0.05)
    seconds = time.perf_counter() - before
    os.kill(pid_of(client), signal.SIGCONT)
    assert seconds < 1.0
    assert [len(await deltas(stream)) > 0 for stream in streams] == [True] * 3


async def test_aborting_frees_the_rows(client: EngineClient) -> None:
    for number in range(3):
        streams = [client.generate(asked(f"{number} {i}", ENDLESS)) for i in range(6)]
        with pytest.raises(Overloaded, match="queue is full"):
            client.generate(asked("one too many"))
        for stream in streams:
            await stream.aclose()
    assert len((await answer(client, asked("room again")))[0]) == 10


async def test_a_killed_process_fails_what_is_open(mortal: EngineClient) -> None:
    stream = mortal.generate(asked("a", ENDLESS))
    running = mortal.metrics.registry.get_sample_value
    while running("pandagpt:num_requests_running") != 1:
        await anext(stream)
    os.kill(pid_of(mortal), signal.SIGSTOP)
    os.kill(pid_of(mortal), signal.SIGKILL)
    killed_at = time.perf_counter()
    with pytest.raises(EngineFailure, match="ended"):
        await deltas(stream)
    assert time.perf_counter() - killed_at < 2
    assert not mortal.is_ready
    assert running("pandagpt:num_requests_running") == 0
    with pytest.raises(Overloaded, match="being restarted"):
        mortal.generate(asked("late"))
    assert mortal.num_requests == 0


async def test_an_idle_process_that_is_killed_is_missed(mortal: EngineClient) -> None:
    assert mortal.is_ready
    os.kill(pid_of(mortal), signal.SIGKILL)
    await asyncio.to_thread(wait_until, lambda: not mortal.is_ready)


async def test_signals_to_end_are_not_for_the_engine(mortal: EngineClient) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid_of(mortal), number)
    assert len((await answer(mortal, asked("hello")))[0]) == 10


async def test_closing_fails_what_is_open_and_ends_the_process(mortal: EngineClient) -> None:
    stream = mortal.generate(asked("a", ENDLESS))
    await asyncio.to_thread(mortal.close)
    with pytest.raises(Overloaded, match="shutting down"):
        await deltas(stream)
    assert has_ended(pid_of(mortal))


def test_a_bundle_that_cannot_be_read(tmp_path: Path) -> None:
    process = EngineProcess(start_of(tmp_path))
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        process.wait_until_ready()
    process.close()


def test_a_process_that_ends_while_it_starts(golden_bundle: Path) -> None:
    process = EngineProcess(start_of(golden_bundle))
    process._process.kill()
    with pytest.raises(OperatorError, match="exit code -9"):
        process.wait_until_ready()
    process.close()


PARENT = """
import sys, time
from pathlib import Path
from tests.engine.test_process import start_of
from pandagpt.engine.process import EngineProcess
process = EngineProcess(start_of(Path(sys.argv[1])))
if sys.argv[2] == "ready":
    process.wait_until_ready()
print(process._process.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("moment", ["loading", "ready"])
def test_no_orphan_is_left(golden_bundle: Path, moment: str) -> None:
    command = [sys.executable, "-c", PARENT, str(golden_bundle), moment]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert not has_ended(pid)
        parent.kill()
    wait_until(lambda: has_ended(pid))


def test_one_frame_a_step(golden_bundle: Path) -> None:
    """The bare process, as its socket shows it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-m", "pandagpt.engine", str(theirs.fileno())]
        child = subprocess.Popen(command, pass_fds=(theirs.fileno(),))
        theirs.close()
        send(ours, to_frame(start_of(golden_bundle)))
        frame = receive(ours)
        assert frame
        ready = from_frame(frame)
        assert isinstance(ready, Ready)
        assert ready.hardware == "cpu, 1 thread, float32, 16 tokens a step"
        send(ours, to_frame(Add(asked("hello"))))
        frames = [receive(ours) for _ in range(10)]
        assert all(frames)
    assert child.wait(PATIENCE_SECONDS) == 0
