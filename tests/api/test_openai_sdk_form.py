"""OpenAI's own client for structured output and tools: parsed models, streamed calls."""

from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel, Field

MESSAGES: Any = [{"role": "user", "content": "What is it?"}]


class Leg(BaseModel):
    side: Literal["left", "right"]
    length: int = Field(ge=0, le=9)


class Animal(BaseModel):
    name: str = Field(max_length=8)
    kind: Literal["frog", "toad"] | None
    leg: Leg


class Weather(BaseModel):
    """The weather of a city."""

    city: Literal["Rome", "Oslo"]


TOOLS: Any = [openai.pydantic_function_tool(Weather)]
OPTIONS: Any = {"model": "golden", "messages": MESSAGES, "max_tokens": 150, "temperature": 0}


@pytest.fixture
def sdk(live_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{live_url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_parse(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.parse(response_format=Animal, **OPTIONS)
    animal = answer.choices[0].message.parsed
    assert isinstance(animal, Animal)
    assert answer.choices[0].message.content == animal.model_dump_json()


def test_parse_a_stream(sdk: openai.OpenAI) -> None:
    with sdk.chat.completions.stream(response_format=Animal, **OPTIONS) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"content.delta", "content.done"} <= kinds
    assert isinstance(final.choices[0].message.parsed, Animal)


def test_an_answer_cut_short_is_told_as_such(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        sdk.chat.completions.parse(response_format=Animal, **OPTIONS | {"max_tokens": 4})


def test_tools_and_a_whole_round(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.parse(tools=TOOLS, tool_choice="required", **OPTIONS)
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls is not None
    (call,) = message.tool_calls
    assert isinstance(call.function.parsed_arguments, Weather)
    result = {"role": "tool", "tool_call_id": call.id, "content": "Rain"}
    turns: Any = [*MESSAGES, message, result]
    last = sdk.chat.completions.create(
        **OPTIONS | {"messages": turns, "max_tokens": 4}, tools=TOOLS
    )
    assert last.choices[0].finish_reason == "length"


def test_streamed_tools(sdk: openai.OpenAI) -> None:
    options = OPTIONS | {"tools": TOOLS, "tool_choice": "required"}
    with sdk.chat.completions.stream(**options) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    deltas = [e for e in events if e.type == "tool_calls.function.arguments.delta"]
    (done,) = [e for e in events if e.type == "tool_calls.function.arguments.done"]
    assert "".join(e.arguments_delta for e in deltas) == done.arguments
    assert isinstance(done.parsed_arguments, Weather)
    assert final.choices[0].finish_reason == "tool_calls"


def test_errors(sdk: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}
    with pytest.raises(openai.BadRequestError) as bad:
        sdk.chat.completions.create(tools=[tool], **OPTIONS)
    assert (bad.value.code, bad.value.param) == ("invalid_schema", "tools[0].function.parameters")
    with pytest.raises(openai.BadRequestError) as missing:
        sdk.chat.completions.create(tool_choice="required", **OPTIONS)
    assert missing.value.param == "tool_choice"
