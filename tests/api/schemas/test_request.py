"""Reading a body: strict JSON, paths, and words that help."""

import json
from typing import Any

import pytest

from pandagpt.api.schemas.chat import ChatRequest
from pandagpt.api.schemas.request import MAX_JSON_NESTING, parse_body
from pandagpt.errors import (
    InvalidJson,
    InvalidValue,
    MissingParameter,
    RequestError,
    UnsupportedContentType,
    UnsupportedValue,
)

HELLO = [{"role": "user", "content": "Hello"}]
MARK = "SECRETMEDIA" * 20


def parse(**fields: Any) -> ChatRequest:
    return parse_body(ChatRequest, json.dumps({"messages": HELLO, **fields}).encode())


def parse_part(part: Any) -> ChatRequest:
    return parse(
        messages=[*HELLO, {"role": "user", "content": [{"type": "text", "text": "x"}, part]}]
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"7",
        b"{} {}",
        b"{'messages': []}",
        b'{"messages": NaN}',
        b'{"temperature": Infinity}',
        b'{"a": "\xff\xfe"}',
        b'{"a": "\\ud800"}',
        b'{"a": ' + b"9" * 10_000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b"\x00",
        b"--boundary\r\ncontent-disposition: form-data",
    ],
)
def test_no_json_object(body: bytes) -> None:
    with pytest.raises(InvalidJson):
        parse_body(ChatRequest, body)


def nested(levels: int) -> bytes:
    """A body whose deepest array or object is `levels` deep; `metadata` is ignored else."""
    inner = "[" * (levels - 1) + "]" * (levels - 1)
    return f'{{"messages": {json.dumps(HELLO)}, "metadata": {inner}}}'.encode()


def test_nesting_limit() -> None:
    parse_body(ChatRequest, nested(MAX_JSON_NESTING))
    with pytest.raises(InvalidJson, match="nested"):
        parse_body(ChatRequest, nested(MAX_JSON_NESTING + 1))


def test_number_of_values() -> None:
    """Media count once, however long."""
    parse(metadata=[0] * 100_000)
    parse_part({"type": "image_url", "image_url": "data:;base64," + "A" * 1_000_000})
    for value in ([0] * 140_000, [[]] * 70_000, [{}] * 70_000):
        with pytest.raises(InvalidJson, match="values"):
            parse(metadata=value)


MANY = 100_000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("messages", [0] * MANY),
        ("messages", [{"role": "user", "content": [0] * MANY}]),
        ("messages", [{"role": "user", "content": [{"type": "x"}] * (MANY // 2)}]),
        ("messages", [{"role": "user", "content": [{"type": "text", "text": ""}] * 2049}]),
        ("messages", [{"role": "assistant", "tool_calls": [0] * MANY}]),
        ("stop", [0] * MANY),
        ("stop_token_ids", [""] * MANY),
    ],
)
def test_long_lists_are_refused_by_their_length(field: str, value: Any) -> None:
    """Not by the first of as many errors as they have items."""
    with pytest.raises(InvalidValue, match="it should have at most") as caught:
        parse(**{field: value})
    assert (caught.value.param or "").startswith(field)


def test_unknown_fields_are_left_aside_and_null_is_absent() -> None:
    chat = parse(unheard_of={"a": 1}, temperature=None, stop=None, stream_options=None)
    assert chat == parse()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("messages", "Hello"),
        ("messages", {}),
        ("messages", []),
        ("messages", [5]),
        ("messages", HELLO * 2049),
        ("model", 5),
        ("stream", 1),
        ("stream", "true"),
        ("stream_options", True),
        ("stream_options", {"include_usage": 1}),
        ("n", 0),
        ("n", 129),
        ("n", 1.5),
        ("n", True),
        ("n", 10**30),
        ("max_tokens", 0),
        ("max_tokens", "5"),
        ("max_completion_tokens", -1),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", True),
        ("temperature", "1"),
        ("temperature", 10**400),
        ("top_p", -0.1),
        ("top_p", 1.1),
        ("presence_penalty", 2.1),
        ("frequency_penalty", -2.1),
        ("seed", 2**63),
        ("seed", -(2**63) - 1),
        ("seed", 1.0),
        ("stop", ["a"] * 5),
        ("stop", [""]),
        ("stop", ["a" * 257]),
        ("stop", [1]),
        ("stop", 1),
        ("logit_bias", {"a": 1}),
        ("logit_bias", {"-1": 1}),
        ("logit_bias", {"٣": 1}),
        ("logit_bias", {"1": 101}),
        ("logit_bias", {"1": None}),
        ("logit_bias", [1]),
        ("logprobs", 1),
        ("top_logprobs", 21),
        ("top_logprobs", -1),
        ("top_k", -2),
        ("top_k", 1.5),
        ("min_p", 1.1),
        ("repetition_penalty", 0),
        ("min_tokens", -1),
        ("stop_token_ids", [-1]),
        ("stop_token_ids", ["1"]),
        ("stop_token_ids", [1] * 129),
        ("ignore_eos", "no"),
        ("fusion", "mean"),
        ("fusion", 1),
    ],
)
def test_wrong_values_name_their_field(field: str, value: Any) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse(**{field: value})
    assert caught.value.param is not None
    assert caught.value.param.startswith(field)
    assert field in caught.value.message


@pytest.mark.parametrize("text", ["1e999", "-1e999"])
def test_numbers_are_finite(text: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_body(
            ChatRequest,
            f'{{"messages": [], "temperature": {text}}}'.encode().replace(
                b"[]", json.dumps(HELLO).encode()
            ),
        )
    assert caught.value.param == "temperature"


WEATHER: dict[str, Any] = {"type": "function", "function": {"name": "weather"}}
NAMED = {"type": "function", "function": {"name": "rain"}}
STRING = {"type": "string"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "text"}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a b"}}},
            "response_format.json_schema.name",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
            "response_format.json_schema.name",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": 1}}},
            "response_format.json_schema.schema",
        ),
        ({"tools": {}}, "tools"),
        ({"tools": [WEATHER, {"type": "web_search"}]}, "tools[1].type"),
        ({"tools": [{"function": {"name": "a"}}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "é"}}]}, "tools[0].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": []}}]},
            "tools[0].function.parameters",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": STRING}}]},
            "tools[0].function.parameters",
        ),
        ({"tools": [WEATHER, WEATHER]}, "tools"),
        ({"tools": [WEATHER] * 129}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": NAMED}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": NAMED}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": "any"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ],
)
def test_forms_and_tools_are_refused_where_they_are_wrong(
    fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(RequestError) as caught:
        parse(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("functions", [{"name": "f"}]),
        ("function_call", {"name": "f"}),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("guided_json", {"type": "object"}),
        ("structured_outputs", {"regex": "a"}),
        ("web_search_options", {"search_context_size": "low"}),
        ("best_of", 2),
        ("echo", True),
        ("prompt_logprobs", 3),
        ("chat_template", "{{ messages }}"),
    ],
)
def test_known_but_not_honoured_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(UnsupportedValue) as caught:
        parse(**{field: value})
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", []),
        ("tool_choice", "auto"),
        ("tool_choice", "none"),
        ("tools", [WEATHER]),
        ("parallel_tool_calls", False),
        ("response_format", {"type": "text"}),
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}),
        ("modalities", ["text"]),
        ("echo", False),
        ("stop", "one"),
        ("temperature", 2),
        ("seed", -(2**63)),
        ("logit_bias", {"5": -100}),
        ("user", 7),
        ("reasoning_effort", "high"),
        ("prediction", {"type": "content", "content": "x"}),
    ],
)
def test_harmless_values_pass(field: str, value: Any) -> None:
    parse(**{field: value})


@pytest.mark.parametrize(
    ("part", "error", "param"),
    [
        (5, InvalidValue, ""),
        ({}, MissingParameter, ".type"),
        ({"type": None}, UnsupportedContentType, ""),
        ({"type": "hologram"}, UnsupportedContentType, ""),
        ({"type": ["text"]}, UnsupportedContentType, ""),
        ({"type": "text"}, MissingParameter, ".text"),
        ({"type": "text", "text": 5}, InvalidValue, ".text"),
        ({"type": "text", "text": None}, MissingParameter, ".text"),
        ({"type": "image_url"}, MissingParameter, ".image_url"),
        ({"type": "image_url", "image_url": None, "uuid": "x"}, MissingParameter, ".image_url"),
        ({"type": "image_url", "image_url": {"url": "data:"}, "uuid": 5}, InvalidValue, ".uuid"),
        ({"type": "image_url", "image_url": 5}, InvalidValue, ".image_url"),
        ({"type": "image_url", "image_url": {}}, InvalidValue, ".image_url"),
        ({"type": "image_url", "image_url": {"url": ""}}, InvalidValue, ".image_url.url"),
        ({"type": "image_url", "image_url": {"url": 5}}, InvalidValue, ".image_url.url"),
        (
            {"type": "image_url", "image_url": {"url": "data:", "file_id": "file-1"}},
            InvalidValue,
            ".image_url",
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:", "detail": "huge"}},
            InvalidValue,
            ".image_url.detail",
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "x"}},
            MissingParameter,
            ".input_audio.format",
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "x", "format": "midi"}},
            InvalidValue,
            ".input_audio.format",
        ),
        (
            {"type": "depth_url", "depth_url": {"url": "data:", "scale": 0}},
            InvalidValue,
            ".depth_url.scale",
        ),
        (
            {"type": "depth_url", "depth_url": {"url": "data:", "kind": "range"}},
            InvalidValue,
            ".depth_url.kind",
        ),
        (
            {"type": "imu_url", "imu_url": {"url": "data:", "sample_rate": True}},
            InvalidValue,
            ".imu_url.sample_rate",
        ),
        ({"type": "file", "file": {"filename": "a"}}, InvalidValue, ".file"),
        (
            {"type": "file", "file": {"file_data": "x", "modality": "smell"}},
            InvalidValue,
            ".file.modality",
        ),
    ],
)
def test_parts_are_named_by_their_path(part: Any, error: type[RequestError], param: str) -> None:
    with pytest.raises(error) as caught:
        parse_part(part)
    assert type(caught.value) is error
    assert caught.value.param == "messages[1].content[1]" + param


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": MARK, "detail": MARK}},
        {"type": "image_url", "image_url": {"url": MARK, "file_id": MARK}},
        {"type": "input_audio", "input_audio": {"data": MARK, "format": MARK}},
        {"type": "file", "file": {"file_data": MARK, "modality": MARK}},
        {"type": "text", "text": [MARK]},
        {"type": MARK},
    ],
)
def test_messages_never_repeat_media(part: Any) -> None:
    with pytest.raises(RequestError) as caught:
        parse_part(part)
    assert MARK not in caught.value.message


def test_a_plain_string_is_taken_as_the_url() -> None:
    short = parse_part({"type": "image_url", "image_url": "data:x"})
    assert short == parse_part({"type": "image_url", "image_url": {"url": "data:x"}})
