"""Which objects are closed, and which are left as they are."""

from typing import Any

import pytest

from pandagpt.engine.closed_schema import closed

SHUT = {"additionalProperties": False}
A: dict[str, Any] = {"properties": {"a": {"type": "string"}}}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (A, A | SHUT),
        ({"properties": {"b": A}}, {"properties": {"b": A | SHUT}} | SHUT),
        ({"properties": {"properties": A}}, {"properties": {"properties": A | SHUT}} | SHUT),
        ({"$defs": {"x": A}, "$ref": "#/$defs/x"}, {"$defs": {"x": A | SHUT}, "$ref": "#/$defs/x"}),
        ({"items": A}, {"items": A | SHUT}),
        ({"anyOf": [A, {"type": "null"}]}, {"anyOf": [A | SHUT, {"type": "null"}]}),
        ({"additionalProperties": A}, {"additionalProperties": A | SHUT}),
    ],
)
def test_objects_with_named_fields_are_closed(
    schema: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert closed(schema) == expected


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        A | {"additionalProperties": True},
        A | {"patternProperties": {"^x": {}}},
        A | {"required": ["a", "b"]},
        A | {"minProperties": 2},
        {"allOf": [A, {"properties": {"b": {}}}]},
        A | {"$ref": "#/$defs/x"},
        {"enum": [{"properties": {"a": 1}}]},
        {"default": A},
        {"properties": 5, "anyOf": 5, "items": True},
    ],
)
def test_the_rest_stays_as_it_is(schema: dict[str, Any]) -> None:
    assert closed(schema) == schema
