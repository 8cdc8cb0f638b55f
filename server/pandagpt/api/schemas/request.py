"""How every request body is read: strict JSON in, a validated model or a RequestError out.

Wrong types are refused, never cast; `null` means absent; unknown fields are left aside.
Error messages name the field by its path in the body and never repeat media.
"""

import re
from functools import cache
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError, from_json

from pandagpt.api.schemas.long_text import LongText, hoist, restore
from pandagpt.errors import (
    InvalidJson,
    InvalidSchema,
    InvalidValue,
    MissingParameter,
    RequestError,
    UnsupportedContentType,
    UnsupportedValue,
)

MAX_JSON_NESTING = 64
# A bias for every token of a large vocabulary fits; a million empty lists would keep a core
# busy for seconds. Media are one value each, however long.
MAX_JSON_VALUES = 2**17
MAX_ECHO_CHARS = 64

UNSUPPORTED = "unsupported_value"
UNKNOWN_PART = "unsupported_content_type"
UNUSABLE_SCHEMA = "invalid_schema"

ERROR_CLASSES: dict[str, type[RequestError]] = {
    "missing": MissingParameter,
    "union_tag_not_found": MissingParameter,
    UNSUPPORTED: UnsupportedValue,
    UNKNOWN_PART: UnsupportedContentType,
    UNUSABLE_SCHEMA: InvalidSchema,
    "union_tag_invalid": UnsupportedContentType,
}

KINDS: dict[type, str] = {
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
    type(None): "null",
}

TYPE_RULES = {
    "bool_type": "it should be a boolean",
    "dict_type": "it should be an object",
    "float_type": "it should be a number",
    "int_type": "it should be an integer",
    "list_type": "it should be an array",
    "model_type": "it should be an object",
    "model_attributes_type": "it should be an object",
    "string_type": "it should be a string",
}


class RequestModel(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {
            name: str(value)
            if isinstance(value, LongText) and name not in _long_fields(cls)
            else value
            for name, value in data.items()
            if value is not None
        }


@cache
def _long_fields(model: type[BaseModel]) -> frozenset[str]:
    """The fields that take a long text as it lies in the body; the others get a string."""
    fields = model.model_fields.items()
    return frozenset(name for name, field in fields if LongText in get_args(field.annotation))


Model = TypeVar("Model", bound=RequestModel)


def parse_body(model: type[Model], body: bytes | bytearray) -> Model:
    """Raises InvalidJson, InvalidValue, MissingParameter, UnsupportedValue or
    UnsupportedContentType."""
    return validated(model, _read_json(body))


def validated(model: type[Model], data: dict[str, Any]) -> Model:
    """Raises InvalidValue, MissingParameter, UnsupportedValue or UnsupportedContentType."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise request_error(error.errors(include_url=False)[0], data) from None


def _read_json(body: bytes | bytearray) -> dict[str, Any]:
    rest, texts = hoist(body)
    _check_num_values(rest)
    try:
        data = from_json(rest, allow_inf_nan=False, cache_strings="none")
    except ValueError as error:
        raise InvalidJson(f"The body is not valid JSON: {error}.") from None
    if not isinstance(data, dict):
        raise InvalidJson(f"The body must be a JSON object, not {_kind(data)}.")
    _check_nesting(data)
    return restore(data, texts) if texts else data


def _check_num_values(body: bytes) -> None:
    """Before anything is built; commas and brackets in texts count too, which is a few."""
    if sum(body.count(mark) for mark in (b",", b"[", b"{")) > MAX_JSON_VALUES:
        raise InvalidJson(f"The body holds more than the limit of {MAX_JSON_VALUES} values.")


def _check_nesting(data: dict[str, Any]) -> None:
    level: list[Any] = [data]
    for _ in range(MAX_JSON_NESTING):
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    raise InvalidJson(f"The body is nested deeper than the limit of {MAX_JSON_NESTING} levels.")


def _children(node: Any) -> list[Any]:
    values = node.values() if isinstance(node, dict) else node
    return [value for value in values if isinstance(value, (dict, list))]


def request_error(error: ErrorDetails, data: Any) -> RequestError:
    """One of pydantic's errors in this package's words, placed in the body."""
    param = _path(error, data)
    cls = ERROR_CLASSES.get(error["type"], InvalidValue)
    if cls is MissingParameter:
        return cls(f"Missing required parameter: '{param}'.", param)
    if cls is UnsupportedValue:
        return cls(error["msg"], param)
    if error["type"] == "union_tag_invalid":
        return cls(_unknown_tag(error, param), param)
    return cls(f"Invalid '{param}': {_rule(error)}{_got(error, param)}.", param)


def _path(error: ErrorDetails, data: Any) -> str:
    """The error's place as `messages[0].content[2].image_url`.

    Of pydantic's steps only those that can be walked in the body are kept, and the name of
    what is missing.
    """
    missing = _missing_name(error)
    path, node = "", data
    steps = _without_branches(error["loc"])
    for step in steps[:-1] if missing in steps[-1:] else steps:
        if isinstance(step, int) and isinstance(node, list) and step < len(node):
            path, node = f"{path}[{step}]", node[step]
        elif isinstance(node, dict) and step in node:
            path, node = f"{path}.{step}", node[step]
    return f"{path}.{missing}".strip(".") if missing else path.removeprefix(".")


def _without_branches(loc: tuple[int | str, ...]) -> list[int | str]:
    """Behind the index of a content part, pydantic names its type, which is often also the
    name of a field of the part."""
    return [
        step
        for i, step in enumerate(loc)
        if not (i >= 2 and loc[i - 2] == "content" and isinstance(loc[i - 1], int))
    ]


def _missing_name(error: ErrorDetails) -> str:
    if error["type"] == "union_tag_not_found":
        return "type"
    return str(error["loc"][-1]) if error["type"] == "missing" else ""


def _unknown_tag(error: ErrorDetails, param: str) -> str:
    context = error.get("ctx", {})
    tag = str(context.get("tag", ""))[:MAX_ECHO_CHARS]
    return f"Unknown '{param}.type': '{tag}'. Expected one of {context.get('expected_tags', '')}."


def _rule(error: ErrorDetails) -> str:
    if rule := TYPE_RULES.get(error["type"]):
        return rule
    text = error["msg"].replace(" after validation", "")
    text = re.sub("(Input|Value|List|Dictionary|String) should", "it should", text)
    return text[:1].lower() + text[1:]


def _got(error: ErrorDetails, param: str) -> str:
    """What was given: its kind inside `messages`, which may hold media; else its value too."""
    given = error["input"]
    if error["type"].endswith("_type"):
        return f", got {_kind(given)}"
    if param.startswith("messages") or isinstance(given, (dict, list)):
        return ""
    return f", got {given!r}" if len(str(given)) <= MAX_ECHO_CHARS else ""


def _kind(value: Any) -> str:
    return KINDS[type(value)]


def refused(remedy: str) -> BeforeValidator:
    """For a field that is known to clients but not honoured here: named, then refused.

    An empty list or object asks for nothing and is let through.
    """

    def refuse(value: Any) -> None:
        if value in ([], {}, False):
            return
        raise PydanticCustomError(UNSUPPORTED, "{remedy}", {"remedy": remedy})

    return BeforeValidator(refuse, json_schema_input_type=None)
