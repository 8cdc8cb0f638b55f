"""Injected faults: what they hit, and that nobody else's answer changes by a token."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pandagpt.engine import faults
from pandagpt.engine.config import EngineConfig
from pandagpt.engine.request import GenerateRequest, SamplingParams
from pandagpt.errors import EngineFailure, OperatorError, Overloaded
from pandagpt.model.pandagpt import PandaGPT
from tests.engine.test_engine import (
    GREEDY,
    Bench,
    Result,
    alone,
    is_empty,
    picture,
    prompt,
    request,
)

NAMES = ("r0", "r1", "r2", "r3")


@pytest.fixture(autouse=True)
def _no_plan() -> Iterator[None]:
    yield
    faults.plan("")


def expected_of(model: PandaGPT, *requests: GenerateRequest) -> dict[str, list[Result]]:
    return {one.request_id: alone(model, one) for one in requests}


def assert_as_expected(bench: Bench, expected: dict[str, list[Result]], *failed: str) -> None:
    for name, results in expected.items():
        if name not in failed:
            found = [bench.results[name, index] for index in range(len(results))]
            assert [r.error for r in found] == [None] * len(results)
            assert [r.token_ids for r in found] == [r.token_ids for r in results]
            assert [r.text for r in found] == [r.text for r in results]
    assert is_empty(bench)


# -- the plan


def passes_struck(text: str, num_passes: int) -> list[int]:
    faults.plan(text)
    struck = []
    for number in range(1, num_passes + 1):
        try:
            faults.strike("step")
        except faults.InjectedFault:
            struck.append(number)
    return struck


def test_when_a_fault_is_due() -> None:
    assert passes_struck("step=exception@3", 9) == [3]
    assert passes_struck("step=exception@3x2", 9) == [3, 4]
    assert passes_struck("step=exception%4", 9) == [4, 8]
    assert passes_struck("step=exception%4x2", 9) == [4, 5, 8, 9]
    assert passes_struck("encode=exception@1,step=nan@1", 3) == []
    assert passes_struck("", 3) == []


@pytest.mark.parametrize(
    "text", ["step", "step=exception", "nowhere=nan@1", "step=x@1", "step=nan@0"]
)
def test_a_plan_that_cannot_be_read(text: str) -> None:
    with pytest.raises(OperatorError, match="PANDAGPT_FAULTS"):
        faults.parse(text)


def test_the_end_of_a_process() -> None:
    code = "from pandagpt.engine import faults; faults.plan('step=exit@2'); "
    code += "faults.strike('step'); print('lives'); faults.strike('step'); print('too long')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == faults.EXIT_CODE
    assert "too long" not in done.stdout


# -- one request fails


@pytest.mark.parametrize(
    "plan", ["step=exception@9x3", "sample=exception@9x2", "text=exception@30"]
)
def test_the_guilty_one_fails_alone(model: PandaGPT, plan: str) -> None:
    requests = [request(model, name) for name in NAMES]
    expected = expected_of(model, *requests)
    bench = Bench(model)
    faults.plan(plan)
    bench.run(*requests)
    failed = [name for name in NAMES if bench.results[name, 0].error]
    assert len(failed) == 1
    assert isinstance(bench.results[failed[0], 0].error, EngineFailure)
    assert_as_expected(bench, expected, *failed)


def test_not_a_number_ends_its_row_within_the_step(model: PandaGPT) -> None:
    requests = [request(model, name) for name in NAMES]
    expected = expected_of(model, *requests)
    bench = Bench(model)
    bench.add(*requests)
    faults.plan("step=nan@5")
    for _ in range(5):
        assert not any(result.error for result in bench.results.values())
        bench.step()
    assert isinstance(bench.results["r0", 0].error, EngineFailure)
    faults.plan("")
    bench.run()
    assert_as_expected(bench, expected, "r0")


@pytest.mark.parametrize("plan", ["step=exception%3", "sample=exception%2", "step=oom%3"])
def test_faults_that_pass_fail_nobody(model: PandaGPT, plan: str) -> None:
    requests = [request(model, name) for name in NAMES]
    expected = expected_of(model, *requests)
    bench = Bench(model)
    bench.add(*requests[:3])
    bench.step()
    bench.step()
    bench.add(requests[3])
    faults.plan(plan.replace("%", "@"))
    bench.run()
    assert_as_expected(bench, expected)


# -- memory


@pytest.mark.parametrize("step", [1, 2, 3, 7, 12])
@pytest.mark.parametrize("times", [2, 3])
def test_without_memory_the_newest_waits(model: PandaGPT, step: int, times: int) -> None:
    """While prompts are read, and while answers are written; the first fault empties the cache."""
    requests = [request(model, name) for name in NAMES]
    expected = expected_of(model, *requests)
    bench = Bench(model)
    bench.run(replace(request(model, "before"), prompt=prompt(model, "words to be kept " * 4)))
    assert bench.engine._prefixes.num_bytes
    bench.add(*requests)
    faults.plan(f"step=oom@{step}x{times}")
    while bench.engine.has_work:
        bench.step()
    assert not bench.engine._scheduler.waiting
    del bench.results["before", 0]
    assert_as_expected(bench, expected)


def test_who_was_put_back_waits_until_another_leaves(model: PandaGPT) -> None:
    short = request(model, "short", replace(GREEDY, max_tokens=6))
    new = request(model, "new")
    expected = expected_of(model, short, new)
    bench = Bench(model)
    bench.add(short)
    bench.step()
    bench.add(new)
    bench.step()
    assert len(bench.results["new", 0].token_ids) == 1
    faults.plan("step=oom@1")
    while bench.results["short", 0].finish_reason is None:
        bench.step()
        assert len(bench.results["new", 0].token_ids) == 1
    bench.run()
    assert_as_expected(bench, expected)


def test_put_back_twice_and_then_refused(model: PandaGPT) -> None:
    requests = [request(model, name) for name in NAMES]
    bench = Bench(model)
    faults.plan("step=oom@1x1000")
    bench.run(*requests)
    errors = [bench.results[name, 0].error for name in NAMES]
    assert all(isinstance(error, Overloaded) for error in errors)
    assert is_empty(bench)
    faults.plan("")
    expected = expected_of(model, request(model, "after"))
    bench.run(request(model, "after"))
    assert_as_expected(bench, expected)


def test_what_was_sampled_before_still_counts(model: PandaGPT) -> None:
    """Penalties, seeds, media, several choices: an answer that goes on is the answer."""
    params = SamplingParams(
        max_tokens=12, temperature=0.9, seed=3, ignore_eos=True, frequency_penalty=0.7, logprobs=1
    )
    seeded = request(model, "seeded", params)
    seen = request(model, "seen", params, (picture(4),))
    three = replace(request(model, "three", params), n=3)
    expected = expected_of(model, seeded, seen, three)
    for step in (1, 2, 3, 5, 8, 11):
        bench = Bench(model, EngineConfig(max_rows=8, max_step_tokens=32))
        faults.plan(f"step=oom@{step}x2,step=oom@{step + 4}x2")
        bench.run(seeded, seen, three)
        assert_as_expected(bench, expected)
        faults.plan("")


def test_no_memory_for_a_medium(model: PandaGPT) -> None:
    bench = Bench(model)
    good, bad = request(model, "good"), request(model, "bad", media=(picture(1),))
    faults.plan("encode=oom@1")
    bench.run(good, bad)
    assert isinstance(bench.results["bad", 0].error, Overloaded)
    assert_as_expected(bench, expected_of(model, good))


def test_no_memory_for_a_prompt_that_was_read_before(
    model: PandaGPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = replace(request(model, "long"), prompt=prompt(model, "words to be kept " * 4))
    bench = Bench(model)
    bench.run(long)

    def full(*_: object) -> None:
        raise MemoryError("injected")

    good = request(model, "good")
    with monkeypatch.context() as patch:
        patch.setattr(type(bench.runner), "restore", full)
        bench.run(good, replace(long, request_id="again"))
    assert isinstance(bench.results["again", 0].error, Overloaded)
    assert_as_expected(bench, expected_of(model, good))
