"""Which JSON schemas would take seconds to compile: refused before, as nothing ends it midway.

What joins several schemas for one value (`allOf`, or `$ref`, `anyOf`, `oneOf` beside other
keywords) is told by intersecting their regular expressions and choices, in a time that grows
exponentially with how many there are. The names of `patternProperties` must exclude each other,
which is tried for every two of them, and `multipleOf` takes as many states as its number says.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from pandagpt.errors import InvalidSchema

Schema = Mapping[str, Any]

_BESIDE = "beside 'allOf' or other keywords that join schemas"
LIMITS = {
    "bytes": 64 * 1024,
    "names in 'patternProperties'": 64,
    "as the sum of all 'multipleOf'": 10_000,
    f"'multipleOf' {_BESIDE}": 1,
    f"patterns and formats {_BESIDE}": 8,
    f"choices of 'anyOf' and 'oneOf' {_BESIDE}": 16,
}

_JOINING = ("allOf", "anyOf", "oneOf", "$ref")
_CHOICES = ("anyOf", "oneOf")
_COSTS_NOTHING = frozenset(
    ("type", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly")
) | {"$schema", "$id", "$comment", "$defs", "definitions", "discriminator", "x-guidance"}


def check_cost(schemas: Iterable[tuple[str, Schema]]) -> None:
    """Of all schemas of a request, each with its place, as they are compiled together.

    Raises InvalidSchema with the place of the first that is too much.
    """
    num = Counter[str]()
    for param, schema in schemas:
        num["bytes"] += len(json.dumps(schema))
        num.update(_counts(schema))
        for what, most in LIMITS.items():
            if num[what] > most and (num["joins"] or "beside" not in what):
                message = (
                    f"The schemas of this request have {num[what]} {what}; the limit is {most}."
                )
                raise InvalidSchema(message, param)


def _counts(schema: Schema) -> Counter[str]:
    num = Counter[str]()
    for node in _nodes(schema):
        num["names in 'patternProperties'"] += _length(node.get("patternProperties"))
        num["as the sum of all 'multipleOf'"] += _num_states(node.get("multipleOf"))
        num[f"'multipleOf' {_BESIDE}"] += "multipleOf" in node
        num[f"patterns and formats {_BESIDE}"] += ("pattern" in node) + ("format" in node)
        num[f"choices of 'anyOf' and 'oneOf' {_BESIDE}"] += sum(
            _length(node.get(key)) for key in _CHOICES
        )
        num["joins"] += _joins(node)
    return num


def _nodes(node: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node:
        if isinstance(child, dict | list):
            yield from _nodes(child)


def _joins(node: Mapping[str, Any]) -> bool:
    parts = [key for key in _JOINING if key in node]
    if not parts:
        return False
    has_others = len(node.keys() - _COSTS_NOTHING) > 1
    return has_others or _length(node.get("allOf")) > 1


def _length(value: Any) -> int:
    return len(value) if isinstance(value, dict | list) else 0


def _num_states(multiple: Any) -> int:
    """The number without its decimal point."""
    if isinstance(multiple, bool) or not isinstance(multiple, int | float):
        return 0
    digits = Decimal(str(multiple)).as_tuple().digits
    return max(int(multiple), int("".join(map(str, digits))))
