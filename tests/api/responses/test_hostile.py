"""Every node of a full request of /v1/responses and /v1/completions, replaced by wrong values."""

import copy
import json
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pandagpt.api.responses.items import listed, weighed
from pandagpt.api.responses.translation import Translation
from pandagpt.api.schemas.completion import CompletionRequest
from pandagpt.api.schemas.request import RequestModel, parse_body
from pandagpt.api.schemas.responses import ItemReference, ResponseRequest
from pandagpt.errors import RequestError
from tests.api.test_hostile import MEDIUM, WRONG, paths, values

SAMPLING: dict[str, Any] = {
    "model": "scripted",
    "stream": False,
    "temperature": 1,
    "seed": 1,
    "stop": ["a"],
    "logit_bias": {"5": 1},
    "stop_token_ids": [5],
}
FULL: dict[str, dict[str, Any]] = {
    "/v1/completions": SAMPLING
    | {"prompt": ["a", [1, 2]], "n": 1, "echo": True, "max_tokens": 5, "add_special_tokens": True},
    "/v1/responses": SAMPLING
    | {
        "input": [
            {"role": "system", "content": "Be brief."},
            {
                "type": "message",
                "role": "user",
                "id": "msg_1",
                "content": [
                    {"type": "input_text", "text": "What?"},
                    {"type": "input_image", "image_url": "data:;base64,AAAA", "detail": "low"},
                    {"type": "input_file", "file_data": "AAAA", "filename": "a"},
                    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                    {"type": "imu_url", "imu_url": MEDIUM | {"sample_rate": 50}},
                ],
            },
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "x"},
        ],
        "instructions": "Be kind.",
        "fusion": "sum",
        "max_output_tokens": 5,
        "text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}}},
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        "tool_choice": {
            "type": "allowed_tools",
            "mode": "auto",
            "tools": [{"type": "function", "name": "f"}],
        },
        "include": ["reasoning.encrypted_content"],
        "metadata": {"a": "b"},
        "reasoning": {"effort": "low"},
        "store": True,
    },
}
SCHEMAS: dict[str, type[RequestModel]] = {
    "/v1/completions": CompletionRequest,
    "/v1/responses": ResponseRequest,
}
NODES = [(name, path) for name, body in FULL.items() for path in paths(body)]


def replaced(name: str, path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    body = copy.deepcopy(FULL[name])
    node: Any = body
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    return body


@pytest.mark.parametrize("name", FULL)
def test_the_full_requests_are_well_formed(name: str) -> None:
    read(name, FULL[name])


def read(name: str, body: dict[str, Any]) -> None:
    asked = parse_body(SCHEMAS[name], json.dumps(body).encode())
    if isinstance(asked, ResponseRequest):
        given = [item for item in asked.input if not isinstance(item, ItemReference)]
        items = [stored.item for stored in weighed(given)]
        for item in items:
            listed(item)
        Translation(asked, items).chat()


@pytest.mark.parametrize(("name", "path"), NODES)
async def test_every_node(client: httpx.AsyncClient, name: str, path: tuple[Any, ...]) -> None:
    for value in WRONG:
        response = await client.post(name, json=replaced(name, path, value))
        assert response.status_code in (200, 400, 404), (value, response.text)
        if response.status_code == 200:
            continue
        error = response.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert len(response.content) < 4096
        field = str(error["param"]).partition("[")[0].partition(".")[0]
        assert field in FULL[name]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(NODES), values)
def test_any_json_at_any_place(node: tuple[str, tuple[Any, ...]], value: Any) -> None:
    name, path = node
    with suppress(RequestError):
        read(name, replaced(name, path, value))
