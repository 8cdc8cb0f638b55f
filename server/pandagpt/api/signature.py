"""A function as one line that a language model reads: `weather(city: string, days?: integer)`.

A schema says the same in five times the tokens. What it demands beyond names and types is
the grammar's business, which also refuses what is no schema; here it is only passed over.
"""

import json
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 8

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

Schema = Mapping[str, Any]


def signature(name: str, parameters: Schema) -> str:
    return f"{name}({_Writer(parameters).fields(parameters, 0)})"


class _Writer:
    """Each definition is written out where it is met first, so a line is never much longer
    than its schema."""

    def __init__(self, root: Schema) -> None:
        self._definitions = {
            f"#/{place}/{name}": definition
            for place in ("$defs", "definitions")
            if isinstance(root.get(place), dict)
            for name, definition in root[place].items()
        }

    def fields(self, schema: Schema, depth: int) -> str:
        properties, required = schema.get("properties"), schema.get("required")
        if not isinstance(properties, dict):
            return ""
        needed = frozenset(map(str, required)) if isinstance(required, list) else ()
        return ", ".join(
            f"{name}{'' if name in needed else '?'}: {self._described(field, depth)}"
            for name, field in properties.items()
        )

    def _described(self, schema: Any, depth: int) -> str:
        about = schema.get("description") if isinstance(schema, dict) else None
        kind = self._kind(schema, depth)
        return f"{kind} ({about})" if isinstance(about, str) else kind

    def _kind(self, schema: Any, depth: int) -> str:
        if not isinstance(schema, dict) or depth > MAX_DEPTH:
            return "any"
        if "$ref" in schema:
            place = str(schema["$ref"])
            known = self._definitions.pop(place, None)
            return self._kind(known, depth + 1) if known else place.rpartition("/")[2]
        if "const" in schema:
            return _encode(schema["const"])
        if isinstance(values := schema.get("enum"), list):
            return " | ".join(map(_encode, values))
        for key in ("anyOf", "oneOf"):
            if isinstance(options := schema.get(key), list):
                return " | ".join(self._kind(option, depth + 1) for option in options)
        return self._typed(schema, depth)

    def _typed(self, schema: Schema, depth: int) -> str:
        kinds = schema.get("type", "any")
        if isinstance(kinds, list):
            return " | ".join(map(str, kinds))
        if kinds == "array" and "items" in schema:
            return f"({self._kind(schema['items'], depth + 1)})[]"
        if kinds == "object" and "properties" in schema:
            return f"{{{self.fields(schema, depth + 1)}}}"
        return str(kinds)
