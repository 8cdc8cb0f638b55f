"""Every node of a full request replaced by every kind of wrong value: never a crash.

Each answer is a 200 or an error that has the contract's shape and points at the right field.
"""

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pandagpt.api.schemas.chat import ChatRequest
from pandagpt.api.schemas.request import parse_body
from pandagpt.errors import RequestError
from tests.api.test_errors import CHAT

MEDIUM = {"url": "data:;base64,AAAA"}
FULL: dict[str, Any] = {
    "model": "scripted",
    "messages": [
        {"role": "system", "content": "Be brief.", "name": "a"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What?"},
                {"type": "image_url", "image_url": MEDIUM | {"detail": "low"}, "uuid": "u"},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {
                    "type": "depth_url",
                    "depth_url": MEDIUM | {"kind": "depth", "scale": 1, "focal_px": 5},
                },
                {"type": "imu_url", "imu_url": MEDIUM | {"format": "csv", "sample_rate": 50}},
                {"type": "file", "file": {"file_data": "AAAA", "filename": "a", "modality": "imu"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "x"}]},
    ],
    "fusion": "sum",
    "stream": False,
    "n": 1,
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "temperature": 1,
    "top_p": 0.5,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "seed": 1,
    "stop": ["a"],
    "logit_bias": {"5": 1},
    "logprobs": True,
    "top_logprobs": 1,
    "top_k": 1,
    "min_p": 0.1,
    "repetition_penalty": 1,
    "ignore_eos": False,
    "min_tokens": 0,
    "stop_token_ids": [5],
    "modalities": ["text"],
    "response_format": {"type": "text"},
    "tool_choice": "auto",
    "user": "me",
}
WRONG: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 1e308, -1e308, 10**40, "", "x", "\0\ufffd", "9" * 5000),
    *([], [None], [[]], {}, {"a": {}}, {"type": "text"}, [0] * 3000),
)


def paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every node below `node`, branches and leaves."""
    children: Any = ()
    if isinstance(node, dict):
        children = node.items()
    elif isinstance(node, list):
        children = enumerate(node)
    for key, child in children:
        yield (*path, key)
        yield from paths(child, (*path, key))


def replaced(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    body = copy.deepcopy(FULL)
    node: Any = body
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    return body


def test_the_full_request_is_well_formed() -> None:
    parse_body(ChatRequest, json.dumps(FULL).encode())


@pytest.mark.parametrize("path", list(paths(FULL)), ids=lambda path: ".".join(map(str, path)))
async def test_every_node(client: httpx.AsyncClient, path: tuple[Any, ...]) -> None:
    for value in WRONG:
        response = await client.post(CHAT, json=replaced(path, value))
        assert response.status_code in (200, 400, 404), (value, response.text)
        if response.status_code == 200:
            continue
        error = response.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert len(response.content) < 4096
        assert error["param"].partition("[")[0].partition(".")[0] in FULL


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(list(paths(FULL))), values)
def test_any_json_at_any_place(path: tuple[Any, ...], value: Any) -> None:
    with suppress(RequestError):
        parse_body(ChatRequest, json.dumps(replaced(path, value)).encode())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(body: bytes) -> None:
    with pytest.raises(RequestError):
        parse_body(ChatRequest, body)
