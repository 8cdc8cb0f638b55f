"""Answers held to a grammar, beside others: the engine's promises hold for both."""

import json
from dataclasses import replace
from typing import Any

import pytest

from pandagpt.engine.answer import Answer
from pandagpt.engine.config import EngineConfig
from pandagpt.engine.grammar import CompileJob, compiler_of, json_rule
from pandagpt.engine.request import GenerateRequest, Grammar, SamplingParams
from pandagpt.errors import InvalidSchema
from pandagpt.model.pandagpt import PandaGPT
from tests.engine.test_engine import GREEDY, SMALL, Bench, Result, alone, is_empty, prompt, request

pytestmark = pytest.mark.usefixtures("is_asynchronous")

FROG: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "legs": {"type": "integer", "minimum": 0, "maximum": 9},
        "kind": {"enum": ["frog", "toad"]},
    },
    "required": ["name", "legs", "kind"],
}
LONG = {"type": "array", "items": {"type": "string"}, "minItems": 1000}


def grammar(schema: dict[str, Any]) -> Grammar:
    return Grammar(f"answer: {json_rule(schema)}")


HELD = SamplingParams(max_tokens=100, temperature=0.0, turn_stop="", grammar=grammar(FROG))


class FormBench(Bench):
    """A bench that also compiles, between steps, as the worker does beside them."""

    def __init__(self, model: PandaGPT, config: EngineConfig = SMALL) -> None:
        super().__init__(model, config)
        self.compiler = compiler_of(model.tokenizer, model.llama.config.vocab_size)
        self.compiling: list[CompileJob] = []

    def add(self, *requests: GenerateRequest) -> None:
        super().add(*requests)
        self.compiling += [
            CompileJob(one.request_id, one.params.grammar) for one in requests if one.params.grammar
        ]

    def compile(self) -> None:
        for job in self.compiling:
            self._take(self.engine.add_grammar(self.compiler.run(job)))
        self.compiling = []

    def run(self, *requests: GenerateRequest) -> dict[tuple[str, int], Result]:
        self.add(*requests)
        self.compile()
        return super().run()


def held(model: PandaGPT, name: str, **params: Any) -> GenerateRequest:
    return request(model, name, replace(HELD, **params))


def only(model: PandaGPT, one: GenerateRequest, index: int = 0) -> Result:
    return FormBench(model).run(one)[one.request_id, index]


def frog(text: str) -> dict[str, Any]:
    value = json.loads(text)
    assert list(value) == ["name", "legs", "kind"]
    assert len(value["name"]) <= 5
    assert value["legs"] in range(10)
    assert value["kind"] in ("frog", "toad")
    return value


@pytest.mark.parametrize("temperature", [0.0, 1.0, 2.0])
def test_an_answer_is_what_was_asked_for(model: PandaGPT, temperature: float) -> None:
    for seed in range(5):
        result = only(model, held(model, "a", temperature=temperature, seed=seed))
        frog(result.text)
        assert result.finish_reason == "stop"


def test_beside_others_as_alone_and_others_as_without_it(model: PandaGPT) -> None:
    forms = [
        held(model, "h0"),
        held(model, "h1", temperature=1.0, seed=3),
        held(model, "h2", temperature=0.9, top_p=0.8, seed=4, presence_penalty=1.0),
    ]
    plain = [
        request(model, "p0"),
        request(model, "p1", replace(GREEDY, temperature=1.0, seed=5, logprobs=2)),
    ]
    bench = FormBench(model, EngineConfig(max_rows=8))
    together = bench.run(
        *(one for pair in zip(forms, plain, strict=False) for one in pair), forms[2]
    )
    for one in forms:
        assert together[one.request_id, 0] == only(model, one)
    for one in plain:
        expected = alone(model, one)[0]
        assert together[one.request_id, 0].token_ids == expected.token_ids
        assert together[one.request_id, 0].logprobs == pytest.approx(expected.logprobs, abs=1e-4)
    assert is_empty(bench)


def test_each_choice_has_its_own_place_in_the_grammar(model: PandaGPT) -> None:
    one = replace(held(model, "a", temperature=1.5, seed=7), n=4)
    results = FormBench(model).run(one)
    texts = [results["a", index].text for index in range(4)]
    assert all(map(frog, texts))
    assert len(set(texts)) > 1
    again = FormBench(model).run(one)
    assert [again["a", index].text for index in range(4)] == texts


@pytest.mark.parametrize(
    "params", [{"ignore_eos": True}, {"min_tokens": 90}, {"ignore_eos": True, "min_tokens": 90}]
)
def test_a_complete_answer_ends_whatever_was_said_of_lengths(
    model: PandaGPT, params: dict[str, Any]
) -> None:
    result = only(model, held(model, "a", **params))
    frog(result.text)
    assert result.finish_reason == "stop"


def test_the_tokens_run_out(model: PandaGPT) -> None:
    result = only(model, held(model, "a", grammar=grammar(LONG), max_tokens=20, temperature=1.0))
    assert result.finish_reason == "length"
    assert len(result.token_ids) == 20
    assert result.text.startswith("[")


def test_a_stop_string_stops_within(model: PandaGPT) -> None:
    result = only(model, held(model, "a", stop=('"legs"',)))
    assert result.finish_reason == "stop"
    assert result.text.startswith('{"name":"')
    assert '"legs"' not in result.text


def test_the_stop_between_turns_is_text_within_a_string(model: PandaGPT) -> None:
    """With `turn_stop` empty, as the API sets it for constrained answers."""
    schema = {"const": "\n### Human"}
    result = only(model, held(model, "a", grammar=grammar(schema)))
    assert json.loads(result.text) == "\n### Human"


def test_logprobs_are_the_model_s_own(model: PandaGPT) -> None:
    result = only(model, held(model, "a", logprobs=3))
    assert len(result.logprobs) == len(result.token_ids)
    assert all(-1000 < value <= 0 for value in result.logprobs)


def test_a_grammar_that_fails_fails_its_request_only(model: PandaGPT) -> None:
    bad = held(model, "bad", grammar=Grammar("answer: nothing_such"))
    good = held(model, "good")
    bench = FormBench(model)
    results = bench.run(bad, good)
    assert isinstance(results["bad", 0].error, InvalidSchema)
    assert results["good", 0] == only(model, good)
    assert is_empty(bench)


def test_a_grammar_may_fail_in_the_midst(model: PandaGPT) -> None:
    """The library's limits can be met at any token; the rows beside go on."""
    schema = {"type": "integer", "multipleOf": 100_000, "minimum": 10**17, "maximum": 10**18}
    bad = held(model, "bad", grammar=grammar(schema), temperature=2.0, seed=1)
    bench = FormBench(model)
    results = bench.run(bad, request(model, "plain"))
    assert isinstance(results["bad", 0].error, InvalidSchema)
    assert results["bad", 0].token_ids
    assert results["plain", 0].token_ids == alone(model, request(model, "plain"))[0].token_ids
    assert is_empty(bench)


def test_gone_while_its_grammar_is_compiled(model: PandaGPT) -> None:
    bench = FormBench(model)
    bench.add(held(model, "gone"))
    assert not bench.engine.has_work
    bench.engine.abort("gone")
    bench.compile()
    assert is_empty(bench)
    assert not bench.results


def test_gone_in_the_midst(model: PandaGPT) -> None:
    bench = FormBench(model)
    bench.add(held(model, "gone"), held(model, "stays"))
    bench.compile()
    bench.step()
    bench.step()
    bench.engine.abort("gone")
    assert bench.run()["stays", 0] == only(model, held(model, "stays"))
    assert is_empty(bench)


def test_a_cached_prefix_changes_nothing(model: PandaGPT) -> None:
    long = prompt(model, "many words in a row " * 6)
    one = replace(held(model, "a"), prompt=long)
    bench = FormBench(model, EngineConfig(max_rows=4, prefix_cache_bytes=2**24))
    first = bench.run(one)["a", 0]
    again = bench.run(replace(one, request_id="b"))["b", 0]
    assert again == first


def test_an_answer_knows_no_more_than_that_it_is_complete(model: PandaGPT) -> None:
    answer = Answer(0, HELD, model.tokenizer, 10)
    assert answer.append(5).finish_reason is None
    assert answer.append(6, None, is_complete=True).finish_reason == "stop"
