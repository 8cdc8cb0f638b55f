"""Grammars by themselves: whatever is drawn among the allowed tokens is what was asked for."""

import json
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from pandagpt.engine.grammar import CompileJob, GrammarCompiler, Matcher, Words, json_rule
from pandagpt.engine.request import Grammar
from pandagpt.errors import InvalidSchema
from pandagpt.model.tokenizer import Tokenizer

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
        "home": {"$ref": "#/$defs/home"},
    },
    "required": ["name", "age", "tags", "home"],
    "$defs": {"home": {"anyOf": [{"type": "null"}, {"const": "hôtel"}]}},
}
WORD: dict[str, Any] = {"type": "string", "maxLength": 30}
MOST_TOKENS = 400


@pytest.fixture(scope="module")
def compiler(tokenizer: Tokenizer) -> GrammarCompiler:
    return GrammarCompiler(Words.of(tokenizer, tokenizer.vocab_size + 3))


def grammar(schema: Mapping[str, Any]) -> Grammar:
    return Grammar(f"answer: {json_rule(schema)}")


def drawn(matcher: Matcher, tokenizer: Tokenizer, seed: int) -> str:
    """One text that the grammar allows, token by token."""
    lot = random.Random(seed)
    ids: list[int] = []
    while not matcher.is_complete:
        ids.append(int(lot.choice(np.flatnonzero(matcher.allowed().mask_V))))
        matcher.accept(ids[-1])
        assert len(ids) < MOST_TOKENS
    return tokenizer.decode(ids)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_allowed_fulfils_the_schema(
    compiler: GrammarCompiler, tokenizer: Tokenizer, seed: int
) -> None:
    text = drawn(compiler.compile(grammar(PERSON)), tokenizer, seed)
    person = json.loads(text)
    assert list(person) == ["name", "age", "tags", "home"]
    assert len(person["name"]) <= 8
    assert person["age"] in range(121)
    assert set(person["tags"]) <= {"a", "b"}
    assert len(person["tags"]) <= 3
    assert person["home"] in (None, "hôtel")
    assert text == json.dumps(person, ensure_ascii=False, separators=(",", ":")) or "\\" in text


def test_the_masks_cover_the_model_s_vocabulary(
    compiler: GrammarCompiler, tokenizer: Tokenizer
) -> None:
    """Ids beyond the tokenizer's own are never allowed."""
    mask_V = compiler.compile(grammar(PERSON)).allowed().mask_V
    assert mask_V.shape == (tokenizer.vocab_size + 3,)
    assert not mask_V[tokenizer.vocab_size :].any()


def test_copies_stand_for_themselves(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    first = compiler.compile(grammar(PERSON))
    second = first.copy()
    drawn(first, tokenizer, 1)
    assert not second.is_complete
    assert json.loads(drawn(second, tokenizer, 2))


def test_a_turn_that_would_end_ends_its_string(
    compiler: GrammarCompiler, tokenizer: Tokenizer
) -> None:
    """Only within strings; elsewhere the likeliest of the allowed ones is right."""
    matcher = compiler.compile(grammar({"type": "array", "items": WORD}))
    for token_id in tokenizer.encode("["):
        assert not matcher.allowed().instead
        matcher.accept(token_id)
    assert not matcher.allowed().instead
    matcher.accept(token_of(tokenizer, b'"'))
    instead = matcher.allowed().instead
    assert instead[tokenizer.eos_id] == instead[token_of(tokenizer, b"\n")]
    matcher.accept(instead[tokenizer.eos_id])
    assert not matcher.allowed().instead


def test_a_string_too_short_does_not_end(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    matcher = compiler.compile(grammar({"type": "string", "minLength": 2}))
    for token_id in tokenizer.encode('"'):
        matcher.accept(token_id)
    assert not matcher.allowed().instead


def token_of(tokenizer: Tokenizer, data: bytes) -> int:
    return next(i for i in range(tokenizer.vocab_size) if tokenizer.token_bytes(i) == data)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "strin"}, "Invalid type: strin."),
        ({"type": "object", "properties": [1]}, "properties must be an object"),
        ({"type": "string", "pattern": "(["}, "unclosed character class"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"not": {"type": "string"}}, "not"),
        ({"enum": []}, "anyOf is empty"),
        ({"type": "integer", "minimum": 5, "maximum": 2}, "minimum (5)"),
        ({"$ref": "#/$defs/none"}, "does not exist"),
        ({"$ref": "http://127.0.0.1/x.json"}, "does not fetch resources"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "no text fulfils it"),
        ({"type": "integer", "minimum": 10**400}, "out of range"),
    ],
)
def test_a_schema_that_cannot_be_kept_to(
    compiler: GrammarCompiler, schema: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidSchema) as error:
        compiler.check(grammar(schema))
    assert reason in error.value.message
    assert len(error.value.message) < 400
    assert "\n" not in error.value.message


def test_a_job_s_error_is_its_result(compiler: GrammarCompiler) -> None:
    done = compiler.run(CompileJob("a", grammar({"type": "strin"})))
    assert isinstance(done.matcher, InvalidSchema)
    assert isinstance(compiler.run(CompileJob("b", grammar(PERSON))).matcher, Matcher)
