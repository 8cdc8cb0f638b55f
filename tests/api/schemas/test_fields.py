"""Every field of each request is honoured, inert or refused by name: exactly one of the three.

Fields are those of OpenAI's client and of the schemas here. What is honoured must show, in what
the engine is asked or in what the client is told.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from openai.types import completion_create_params as completion_params
from openai.types.chat import completion_create_params as chat_params
from openai.types.responses import response_create_params as response_params

from pandagpt.api.schemas import chat, completion, responses
from pandagpt.api.schemas.request import RequestModel, parse_body
from pandagpt.engine.request import Delta, TokenLogprob
from pandagpt.errors import RequestError, UnsupportedValue
from tests.api.conftest import ScriptedEngine

SAMPLING: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.5,
    "presence_penalty": 1,
    "frequency_penalty": 1,
    "seed": 5,
    "stop": "z",
    "logit_bias": {"5": 1},
    "top_k": 3,
    "min_p": 0.5,
    "repetition_penalty": 2,
    "ignore_eos": True,
    "min_tokens": 2,
    "stop_token_ids": [5],
    "skip_special_tokens": False,
    "include_stop_str_in_output": True,
    "model": "scripted",
    "stream": True,
}
FUNCTION = {"name": "f"}
TOOL = {"type": "function", "function": FUNCTION}
FLAT_TOOL = {"type": "function", "name": "f"}
PICTURE = {"type": "image_url", "image_url": "sample://red_car.png"}
USER = {"role": "user", "content": "Hello"}


@dataclass(frozen=True)
class Case:
    """`effects`: a value of each honoured field that shows, maybe beside other fields."""

    path: str
    schema: type[RequestModel]
    inert: frozenset[str]
    client: Any
    base: dict[str, Any]
    effects: dict[str, Any]
    beside: dict[str, dict[str, Any]]

    @property
    def fields(self) -> set[str]:
        aliases = {name for name in self.schema.model_fields if not name.startswith("_")}
        return aliases | set(self.client.__annotations__) | {"stream"}

    @property
    def refused(self) -> set[str]:
        return self.fields - self.effects.keys() - self.inert


CASES = {
    "chat": Case(
        "/v1/chat/completions",
        chat.ChatRequest,
        chat.INERT_FIELDS,
        chat_params.CompletionCreateParamsBase,
        {"messages": [USER]},
        SAMPLING
        | {
            "messages": [USER, USER],
            "fusion": "interleave",
            "stream_options": {"include_usage": True},
            "n": 2,
            "max_tokens": 5,
            "max_completion_tokens": 5,
            "logprobs": True,
            "top_logprobs": 2,
            "modalities": ["text"],
            "response_format": {"type": "json_object"},
            "tools": [TOOL],
            "tool_choice": "required",
            "parallel_tool_calls": True,
        },
        {
            "fusion": {"messages": [{"role": "user", "content": [PICTURE, PICTURE]}]},
            "stream_options": {"stream": True},
            "top_logprobs": {"logprobs": True},
            "tool_choice": {"tools": [TOOL]},
            "parallel_tool_calls": {"tools": [TOOL]},
        },
    ),
    "completions": Case(
        "/v1/completions",
        completion.CompletionRequest,
        completion.INERT_FIELDS,
        completion_params.CompletionCreateParamsBase,
        {"prompt": "Hello"},
        SAMPLING
        | {
            "prompt": "Bye",
            "echo": True,
            "stream_options": {"include_usage": True},
            "n": 2,
            "max_tokens": 5,
            "logprobs": 2,
            "add_special_tokens": False,
        },
        {"stream_options": {"stream": True}},
    ),
    "responses": Case(
        "/v1/responses",
        responses.ResponseRequest,
        responses.INERT_FIELDS,
        response_params.ResponseCreateParamsBase,
        {"input": "Hello"},
        SAMPLING
        | {
            "input": "Bye",
            "instructions": "Be brief.",
            "previous_response_id": "resp_x",
            "store": False,
            "fusion": "interleave",
            "stream_options": {"include_obfuscation": False},
            "max_output_tokens": 5,
            "text": {"format": {"type": "json_object"}},
            "tools": [FLAT_TOOL],
            "tool_choice": "required",
            "parallel_tool_calls": True,
            "include": ["message.output_text.logprobs"],
            "top_logprobs": 2,
            "truncation": "disabled",
            "metadata": {"a": "b"},
            "reasoning": {"effort": "low"},
            "max_tool_calls": 3,
            "user": "me",
            "safety_identifier": "me",
            "prompt_cache_key": "me",
        },
        {
            "fusion": {"input": [{"role": "user", "content": [PICTURE, PICTURE]}]},
            "stream_options": {"stream": True},
            "tool_choice": {"tools": [FLAT_TOOL]},
            "parallel_tool_calls": {"tools": [FLAT_TOOL]},
        },
    ),
}
# Taken with the one value that says what happens anyway.
ONE_VALUE = {
    ("chat", "modalities"),
    ("responses", "truncation"),
    ("responses", "stream_options"),
    *((name, "model") for name in CASES),
}
# A refused field that is taken where it asks for nothing.
JUNK = {"best_of": 3}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def test_every_field_is_one_of_three(case: Case) -> None:
    assert not case.effects.keys() & case.inert
    assert case.effects.keys() <= case.schema.model_fields.keys()
    assert not case.inert & case.schema.model_fields.keys()


def test_what_is_refused_is_refused_by_name(case: Case) -> None:
    assert case.refused
    for name in case.refused:
        body = case.base | {name: JUNK.get(name, {"a": 1})}
        with pytest.raises(UnsupportedValue) as refusal:
            parse_body(case.schema, json.dumps(body).encode())
        assert refusal.value.param == name
    for name in case.effects:
        body = case.base | {name: [[]]}
        with pytest.raises(RequestError) as wrong:
            parse_body(case.schema, json.dumps(body).encode())
        assert str(wrong.value.param).startswith(name)


async def test_what_is_inert_changes_nothing(
    case: Case, client: httpx.AsyncClient, engine: ScriptedEngine
) -> None:
    plain = await shown(client, engine, case, {})
    for name in sorted(case.inert):
        assert await shown(client, engine, case, {name: {"any": ["thing"]}}) == plain, name


@pytest.mark.parametrize(
    ("name", "field"), [(name, field) for name, case in CASES.items() for field in case.effects]
)
async def test_what_is_honoured_shows(
    name: str, field: str, client: httpx.AsyncClient, engine: ScriptedEngine
) -> None:
    case = CASES[name]
    beside = case.beside.get(field, {})
    plain = await shown(client, engine, case, beside)
    changed = await shown(client, engine, case, beside | {field: case.effects[field]})
    if (name, field) in ONE_VALUE:
        assert '"error":{' not in changed
    else:
        assert changed != plain


IDS = re.compile(r'"(id|item_id|call_id|created|created_at|completed_at)":\s?("[^"]*"|\d+)')


async def shown(
    client: httpx.AsyncClient, engine: ScriptedEngine, case: Case, fields: dict[str, Any]
) -> str:
    """What the engine was asked and what the client was told, without ids and times."""
    engine.requests.clear()
    token = TokenLogprob(1, "Hi.", b"Hi.", -1.0)
    num_choices = fields.get("n", 1)
    engine.script = [Delta(i, "Hi.", (1,), (token,), "stop") for i in range(num_choices)]
    response = await client.post(case.path, json=case.base | fields)
    asked = [(r.prompt, r.params, r.n) for r in engine.requests]
    kept = ""
    if response_id := re.search(r'"id":"(resp_[0-9a-f]+)"', response.text):
        kept = str((await client.get(f"/v1/responses/{response_id[1]}")).status_code)
    return f"{IDS.sub('', response.text)} {asked} {kept}"
