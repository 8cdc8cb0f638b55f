"""Functions as lines of text: short, and never longer than their schemas let expect."""

from typing import Any

import pytest

from pandagpt.api.signature import signature

TREE = {"properties": {"left": {"$ref": "#/$defs/tree"}, "value": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, "f()"),
        ({"properties": {"a": {"type": "string"}}, "required": ["a"]}, "f(a: string)"),
        ({"properties": {"a": {"type": "string"}}}, "f(a?: string)"),
        ({"properties": {"a": {"enum": ["x", 1]}}, "required": ["a"]}, 'f(a: "x" | 1)'),
        ({"properties": {"a": {"const": None}}, "required": ["a"]}, "f(a: null)"),
        ({"properties": {"a": {"type": ["string", "null"]}}}, "f(a?: string | null)"),
        ({"properties": {"a": {"anyOf": [{"type": "null"}, {}]}}}, "f(a?: null | any)"),
        (
            {"properties": {"a": {"type": "array", "items": {"type": "number"}}}},
            "f(a?: (number)[])",
        ),
        ({"properties": {"a": {"type": "object", "properties": {"b": {}}}}}, "f(a?: {b?: any})"),
        (
            {"properties": {"a": {"type": "string", "description": "The city"}}},
            "f(a?: string (The city))",
        ),
        (
            {
                "properties": {"a": {"$ref": "#/$defs/tree"}},
                "$defs": {"tree": TREE | {"type": "object"}},
            },
            "f(a?: {left?: tree, value?: integer})",
        ),
        ({"properties": 5}, "f()"),
        ({"properties": {"a": 5}, "required": "a"}, "f(a?: any)"),
    ],
)
def test_signatures(schema: dict[str, Any], expected: str) -> None:
    assert signature("f", schema) == expected


def test_a_deep_schema_is_not_told_to_its_end() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(40):
        schema = {"type": "object", "properties": {"a": schema}}
    assert signature("f", schema).endswith("any" + "}" * 9 + ")")
