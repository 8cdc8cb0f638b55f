"""/v1/chat/completions with `response_format` and `tools`, over the golden model."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

CHAT = "/v1/chat/completions"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "legs": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["name", "legs"],
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "animal", "schema": SCHEMA}}
CITY = {"type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}}, "required": ["city"]}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": CITY}},
    {"type": "function", "function": {"name": "now"}},
]
NAMED = {"type": "function", "function": {"name": "weather"}}


def ask(**fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "What is it?"}]
    return {"messages": messages, "temperature": 0, "max_tokens": 100, **fields}


def choices(live: httpx.Client, **fields: Any) -> list[dict[str, Any]]:
    response = live.post(CHAT, json=ask(**fields))
    assert response.status_code == 200, response.text
    return response.json()["choices"]


def chunks(live: httpx.Client, **fields: Any) -> Iterator[dict[str, Any]]:
    """The choices of all chunks."""
    with live.stream("POST", CHAT, json=ask(stream=True, **fields)) as response:
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    for line in lines[:-1]:
        yield from json.loads(line.removeprefix("data: "))["choices"]


def animal(text: str) -> dict[str, Any]:
    value = json.loads(text)
    assert list(value) == ["name", "legs"]
    assert len(value["name"]) <= 6
    assert value["legs"] in range(10)
    return value


@pytest.mark.parametrize("stream", [False, True])
def test_json_by_a_schema(live: httpx.Client, stream: bool) -> None:
    fields: dict[str, Any] = {"response_format": FORMAT, "temperature": 1, "seed": 4, "n": 2}
    whole = choices(live, **fields)
    for choice in whole:
        animal(choice["message"]["content"])
        assert choice["finish_reason"] == "stop"
    if stream:
        texts = ["", ""]
        for choice in chunks(live, **fields):
            texts[choice["index"]] += choice["delta"].get("content", "")
        assert texts == [choice["message"]["content"] for choice in whole]


def test_any_json_object_begins_as_one(live: httpx.Client) -> None:
    (choice,) = choices(live, response_format={"type": "json_object"}, max_tokens=9, temperature=1)
    assert choice["message"]["content"].startswith("{")
    assert choice["finish_reason"] in ("stop", "length")


def test_tokens_run_out(live: httpx.Client) -> None:
    (choice,) = choices(live, response_format=FORMAT, max_tokens=3)
    assert choice["finish_reason"] == "length"
    assert '{"name":"'.startswith(choice["message"]["content"])


@pytest.mark.parametrize("extra", [{"ignore_eos": True}, {"min_tokens": 90}, {"logprobs": True}])
def test_a_complete_answer_ends(live: httpx.Client, extra: dict[str, Any]) -> None:
    (choice,) = choices(live, response_format=FORMAT, **extra)
    animal(choice["message"]["content"])
    assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": s}}},
            "response_format.json_schema.schema",
        )
        for s in ({"type": "x"}, {"$ref": "#/no"}, {"type": "string", "pattern": "("})
    ]
    + [
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": p}}]},
            "tools[0].function.parameters",
        )
        for p in ({"properties": 1}, {"properties": {"a": {"type": "x"}}})
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_unusable_schema_is_told_before_anything_else(
    live: httpx.Client, fields: dict[str, Any], param: str, stream: bool
) -> None:
    response = live.post(CHAT, json=ask(stream=stream, **fields))
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_schema", param)


@pytest.mark.parametrize(
    ("choice", "reason"), [("required", "tool_calls"), (NAMED, "stop")], ids=["required", "named"]
)
def test_a_call_that_must_be_made(live: httpx.Client, choice: Any, reason: str) -> None:
    (answer,) = choices(live, tools=TOOLS, tool_choice=choice)
    message = answer["message"]
    assert message["content"] is None
    assert answer["finish_reason"] == reason
    (call,) = message["tool_calls"]
    assert call["id"].startswith("call_")
    assert call["type"] == "function"
    arguments = json.loads(call["function"]["arguments"])
    expected = {"weather": [{"city": "Rome"}, {"city": "Oslo"}], "now": [{}]}
    assert arguments in expected[call["function"]["name"]]


def test_calls_come_as_openai_streams_them(live: httpx.Client) -> None:
    fields: dict[str, Any] = {
        "tools": TOOLS,
        "tool_choice": "required",
        "parallel_tool_calls": True,
        "temperature": 1,
        "seed": 3,
        "max_tokens": 300,
    }
    (whole,) = choices(live, **fields)
    deltas = list(chunks(live, **fields))
    assert deltas[0]["delta"] == {"role": "assistant", "content": ""}
    assert deltas[-1]["finish_reason"] == whole["finish_reason"] == "tool_calls"
    begun: list[dict[str, Any]] = []
    for delta in deltas[1:-1]:
        assert delta["finish_reason"] is None
        (piece,) = delta["delta"]["tool_calls"]
        if piece["index"] == len(begun):
            assert piece["id"].startswith("call_")
            assert piece["type"] == "function"
            assert piece["function"]["arguments"] == ""
            begun.append(piece["function"])
        else:
            assert piece.keys() == {"index", "function"}
            assert piece["function"].keys() == {"arguments"}
            begun[piece["index"]]["arguments"] += piece["function"]["arguments"]
    assert begun == [call["function"] for call in whole["message"]["tool_calls"]]


def test_a_call_that_may_be_made(live: httpx.Client) -> None:
    """The golden model's weights are random, so it hardly will."""
    (answer,) = choices(live, tools=TOOLS, max_tokens=12)
    assert answer["message"]["content"]
    assert answer["message"].keys() == {"role", "content", "refusal"}
    text = "".join(c["delta"].get("content", "") for c in chunks(live, tools=TOOLS, max_tokens=12))
    assert text == answer["message"]["content"]


def test_a_whole_round_of_tools(live: httpx.Client) -> None:
    (answer,) = choices(live, tools=TOOLS, tool_choice=NAMED)
    call = answer["message"]["tool_calls"][0]
    messages = [
        {"role": "user", "content": "Weather?"},
        answer["message"],
        {"role": "tool", "tool_call_id": call["id"], "content": "Rain"},
    ]
    (last,) = choices(live, messages=messages, tools=TOOLS, tool_choice="none", max_tokens=5)
    assert last["message"]["content"]


def test_rows_beside_each_other(live: httpx.Client) -> None:
    """What a free answer says does not depend on the constrained ones beside it."""
    plain: dict[str, Any] = {"max_tokens": 40, "temperature": 1, "seed": 9}
    held: dict[str, Any] = {"response_format": FORMAT, "temperature": 1, "seed": 8}
    asked = [held if i % 2 else plain for i in range(12)]
    alone = [choices(live, **fields) for fields in (plain, held)]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda fields: choices(live, **fields), asked))
    assert answers == [alone[i % 2] for i in range(12)]


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [{"type": "string", "pattern": f".*{i}.*"} for i in range(64)]},
        {"type": "object", "properties": {"a": {"const": -(2**63)}}},  # ends its compiler
    ],
)
def test_a_hostile_schema_leaves_the_rest_alone(live: httpx.Client, schema: dict[str, Any]) -> None:
    bad = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    response = live.post(CHAT, json=ask(response_format=bad))
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_schema"
    assert choices(live, max_tokens=2)
