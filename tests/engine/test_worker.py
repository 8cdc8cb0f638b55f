"""The threads around the engine, without asyncio: what is put in, and what is posted."""

import time
from dataclasses import replace
from queue import SimpleQueue

import pytest
from torch import Tensor

from pandagpt.engine.config import EngineConfig
from pandagpt.engine.grammar import CompileJob, GrammarCompiler
from pandagpt.engine.messages import Abort, Add
from pandagpt.engine.request import Delta, Event, GenerateRequest, Grammar, SamplingParams
from pandagpt.engine.runner import Runner
from pandagpt.engine.scheduler import Plan
from pandagpt.engine.stats import Stats
from pandagpt.engine.worker import REPORT_SECONDS, Worker
from pandagpt.errors import EngineFailure
from pandagpt.model.pandagpt import PandaGPT
from pandagpt.model.prompt import Prompt

CONFIG = EngineConfig(max_rows=4, max_queue=2, max_step_tokens=16, num_threads=1)
GREEDY = SamplingParams(max_tokens=5, temperature=0.0, ignore_eos=True)
ENDED = "ended"

Posts = SimpleQueue[list[Event] | str]


def worker_of(model: PandaGPT) -> tuple[Worker, Posts]:
    posts: Posts = SimpleQueue()
    worker = Worker(model, CONFIG, posts.put, lambda: posts.put(ENDED))
    worker.start()
    return worker, posts


def add(name: str, params: SamplingParams = GREEDY) -> Add:
    return Add(GenerateRequest(name, Prompt((1, 5, 6)), (), params))


def test_one_post_a_step(model: PandaGPT) -> None:
    worker, posts = worker_of(model)
    assert worker.wait_until_ready(timeout_seconds=30)
    worker.put(add("a"))
    deltas = []
    while not deltas or deltas[-1].finish_reason is None:
        ((request_id, delta),) = posts.get(timeout=30)
        assert request_id == "a"
        assert isinstance(delta, Delta)
        deltas.append(delta)
    assert [len(delta.token_ids) for delta in deltas] == [1] * 5
    worker.close()
    assert posts.get(timeout=30) == ENDED


def test_reports_are_few_and_the_last_one_stays_true(model: PandaGPT) -> None:
    posts: Posts = SimpleQueue()
    reports: list[Stats] = []
    worker = Worker(model, CONFIG, posts.put, lambda: posts.put(ENDED), reports.append)
    worker.start()
    started_at = time.perf_counter()
    worker.put(add("a", replace(GREEDY, max_tokens=100)))
    for _ in range(100):
        posts.get(timeout=30)
    worker.close()
    seconds = time.perf_counter() - started_at
    assert 2 <= len(reports) <= 2 + seconds / REPORT_SECONDS
    assert (reports[0].num_running, reports[-1].num_running) == (1, 0)
    assert sum(len(stats.queue_seconds) for stats in reports) == 1


def test_an_aborted_request_is_spoken_of_no_more(model: PandaGPT) -> None:
    worker, posts = worker_of(model)
    assert worker.wait_until_ready(timeout_seconds=30)
    worker.put(add("a", replace(GREEDY, max_tokens=200)))
    posts.get(timeout=30)
    worker.put(Abort("a"))
    worker.put(add("b", replace(GREEDY, max_tokens=1)))
    posted: list[str] = []
    while "b" not in posted:
        posted += [name for name, _ in posts.get(timeout=30)]
    posted.clear()
    worker.put(add("c", replace(GREEDY, max_tokens=2)))
    posted += [name for _ in range(2) for name, _ in posts.get(timeout=30)]
    assert posted == ["c", "c"]
    worker.close()


def test_a_grammar_is_compiled_beside_the_steps(model: PandaGPT) -> None:
    worker, posts = worker_of(model)
    assert worker.wait_until_ready(timeout_seconds=30)
    worker.put(add("a", replace(GREEDY, grammar=Grammar('answer: "ab"'), turn_stop="")))
    text = ""
    while text != "ab":
        ((_, delta),) = posts.get(timeout=30)
        assert isinstance(delta, Delta)
        text += delta.text
    assert delta.finish_reason == "stop"
    worker.close()


def test_a_compiler_that_breaks_fails_one_request(
    model: PandaGPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even by what is no `Exception`: a panic in the library."""

    def broken(compiler: GrammarCompiler, job: CompileJob) -> None:
        raise BaseException("injected")

    worker, posts = worker_of(model)
    assert worker.wait_until_ready(timeout_seconds=30)
    held = replace(GREEDY, grammar=Grammar('answer: "ab"'), turn_stop="")
    with monkeypatch.context() as patch:
        patch.setattr(GrammarCompiler, "run", broken)
        worker.put(add("a", held))
        ((name, failure),) = posts.get(timeout=30)
    assert name == "a"
    assert isinstance(failure, EngineFailure)
    worker.put(add("b", held))
    assert posts.get(timeout=30)[0][0] == "b"
    worker.close()


def test_a_model_that_cannot_run_is_never_ready(
    model: PandaGPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(runner: Runner, plan: Plan) -> Tensor:
        raise RuntimeError("injected")

    monkeypatch.setattr(Runner, "forward", broken)
    worker, _ = worker_of(model)
    assert not worker.wait_until_ready(timeout_seconds=30)
    worker.close()


def test_no_memory_for_the_cache_is_known_at_once(
    model: PandaGPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(runner: Runner, model: PandaGPT, config: EngineConfig) -> None:
        raise MemoryError("injected")

    monkeypatch.setattr(Runner, "__init__", broken)
    worker, posts = worker_of(model)
    assert not worker.wait_until_ready(timeout_seconds=30)
    assert posts.get(timeout=30) == ENDED
    worker.close()
