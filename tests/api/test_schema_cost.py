"""Schemas made to cost: each is refused or compiled, either in a moment."""

import random
import time
from contextlib import suppress
from typing import Any

import pytest

from pandagpt.api.schema_cost import check_cost
from pandagpt.engine.grammar import GrammarCompiler, Words, json_rule
from pandagpt.engine.request import Grammar
from pandagpt.errors import InvalidSchema
from pandagpt.model.tokenizer import Tokenizer

WORD: dict[str, Any] = {"type": "string", "maxLength": 30}


@pytest.fixture(scope="module")
def compiler(tokenizer: Tokenizer) -> GrammarCompiler:
    return GrammarCompiler(Words.of(tokenizer, tokenizer.vocab_size))


def words(count: int) -> list[str]:
    lot = random.Random(1)
    return ["".join(lot.choices("abcdefghij", k=6)) for _ in range(count)]


def chain(count: int, link: str) -> dict[str, Any]:
    names = [f"#/$defs/a{i}" for i in range(count)]
    links: dict[str, Any] = {
        f"a{i}": {link: [{"$ref": names[i + 1]}] * 2} for i in range(count - 1)
    }
    return {"$ref": names[0], "$defs": {**links, f"a{count - 1}": {"type": "null"}}}


HOSTILE: dict[str, dict[str, Any]] = {
    "parentheses": {"type": "string", "pattern": "(" * 30_000 + ")" * 30_000},
    "stars": {"type": "string", "pattern": "((((((a*)*)*)*)*)*)*$"},
    "repeats": {"type": "string", "pattern": "^(a{1,1000}){1,1000}$"},
    "backtracking": {"type": "string", "pattern": "(.*a){20}(x|y|xx){1,500}[^b]{1000}"},
    "multiple": {"type": "integer", "multipleOf": 999_983},
    "multiples": {"allOf": [{"type": "integer", "multipleOf": 997 + i} for i in range(8)]},
    "intersections": {"allOf": [{"type": "string", "pattern": f".*{w}.*"} for w in words(32)]},
    "references": {
        "$ref": "#/$defs/a0",
        "$defs": {f"a{i}": {"$ref": f"#/$defs/a{i + 1}", "pattern": f".*{i}b"} for i in range(32)},
    },
    "enum": {"enum": words(6000)},
    "properties": {"type": "object", "properties": dict.fromkeys(words(1500), WORD)},
    "names": {"patternProperties": {f"^{word}.*$": WORD for word in words(64)}},
    "more names": {"patternProperties": {f"^{word}.*$": WORD for word in words(600)}},
    "choices": chain(200, "anyOf"),
    "product": {"allOf": [{"anyOf": [{"required": [w]} for w in words(10)]} for _ in range(20)]},
    "items": {"type": "array", "minItems": 2**40, "items": WORD},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_schema_is_refused_or_kept_to_in_bounded_time(
    compiler: GrammarCompiler, name: str
) -> None:
    started = time.process_time()
    with suppress(InvalidSchema):
        check_cost([("tools", HOSTILE[name])])
        compiler.check(Grammar(f"answer: {json_rule(HOSTILE[name])}"))
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("schema", "limit"),
    [
        ({"const": "x" * 2**16}, 2**16),
        ({"type": "integer", "multipleOf": 10_001}, 10_000),
        ({"type": "number", "multipleOf": 1.0001}, 10_000),
        ({"patternProperties": {f"^{i}$": {} for i in range(65)}}, 64),
        ({"allOf": [{"pattern": f"{i}"} for i in range(9)]}, 8),
        ({"$ref": "#", "pattern": "a", "enum": [{"format": "uri"}] * 8}, 8),
        ({"allOf": [{"anyOf": [{}] * 9}] * 2}, 16),
        ({"allOf": [{"multipleOf": 2}, {"multipleOf": 3}]}, 1),
    ],
)
def test_limits_name_their_number_and_place(schema: dict[str, Any], limit: int) -> None:
    with pytest.raises(InvalidSchema) as error:
        check_cost([("tools[0]", {}), ("tools[1]", schema), ("tools[2]", schema)])
    assert f"the limit is {limit}." in error.value.message
    assert error.value.param == "tools[1]"


def test_limits_are_those_of_all_schemas_together() -> None:
    schema = {"type": "integer", "multipleOf": 4_000}
    check_cost([("a", schema), ("b", schema)])
    with pytest.raises(InvalidSchema) as error:
        check_cost([("a", schema), ("b", schema), ("c", schema)])
    assert error.value.param == "c"


@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": [{"pattern": f"{i}"} for i in range(99)]},
        {"properties": {f"p{i}": {"pattern": "a", "format": "uri"} for i in range(99)}},
        {"allOf": [{"$ref": "#/$defs/a"}], "description": "d", "$defs": {"a": {"format": "uri"}}},
        {"type": "object", "anyOf": [{"pattern": "a"}] * 99, "title": "t"},
        {"type": "integer", "multipleOf": 0.0001},
        {"multipleOf": "x", "anyOf": 5, "patternProperties": []},
    ],
)
def test_what_is_cheap_is_let_through(schema: dict[str, Any]) -> None:
    check_cost([("a", schema)])
