"""A JSON schema whose objects hold only the fields that it names: what vLLM makes of it too.

JSON Schema lets an object have any other field unless `additionalProperties` says no, and few
schemas say so. A weak model would add field to field and come to no end. What fulfils the
closed schema fulfils the given one.
"""

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_NAMED = ("properties", "$defs", "definitions", "patternProperties")
_LISTED = ("anyOf", "oneOf", "prefixItems")
_SINGLE = ("items", "additionalProperties")
# With one of these an object has other fields on purpose.
_OPEN = ("additionalProperties", "patternProperties", "minProperties")


def closed(schema: Schema) -> Schema:
    """The same schema where parts of it are put together: closed, they would exclude each other."""
    return schema if _is_put_together(schema) else _closed(schema)


def _is_put_together(node: Any) -> bool:
    if isinstance(node, list):
        return any(map(_is_put_together, node))
    if not isinstance(node, dict):
        return False
    has_both = "properties" in node and ("$ref" in node or "anyOf" in node or "oneOf" in node)
    return "allOf" in node or has_both or any(map(_is_put_together, node.values()))


def _closed(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    result = dict(schema)
    for key in _NAMED:
        if isinstance(named := schema.get(key), dict):
            result[key] = {name: _closed(value) for name, value in named.items()}
    for key in _LISTED:
        if isinstance(listed := schema.get(key), list):
            result[key] = [_closed(value) for value in listed]
    for key in _SINGLE:
        if key in schema:
            result[key] = _closed(schema[key])
    return result | {"additionalProperties": False} if _can_close(schema) else result


def _can_close(schema: Schema) -> bool:
    properties, required = schema.get("properties"), schema.get("required", [])
    if not isinstance(properties, dict) or not isinstance(required, list):
        return False
    has_all = all(isinstance(name, str) and name in properties for name in required)
    return bool(properties) and has_all and not any(key in schema for key in _OPEN)
