"""The cases of Open Responses' public compliance suite, said again: each answer is held to
the required fields of that specification and to the models of OpenAI's own client."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.api.routes.test_responses import RESPONSES, WEATHER, data_url, events

REQUIRED = {
    *("id", "object", "created_at", "completed_at", "status", "incomplete_details", "model"),
    *("previous_response_id", "instructions", "output", "error", "tools", "tool_choice"),
    *("truncation", "parallel_tool_calls", "text", "top_p", "presence_penalty"),
    *("frequency_penalty", "top_logprobs", "temperature", "reasoning", "usage"),
    *("max_output_tokens", "max_tool_calls", "store", "background", "service_tier", "metadata"),
    *("safety_identifier", "prompt_cache_key"),
}
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
BASE: dict[str, Any] = {"model": "golden", "temperature": 0}


@pytest.fixture(params=["whole", "streamed"])
def answer(request: pytest.FixtureRequest, live: httpx.Client) -> Any:
    """A body in, the validated response out, whole and streamed."""

    def whole(body: dict[str, Any]) -> Response:
        got = live.post(RESPONSES, json=BASE | body)
        assert got.status_code == 200, got.text
        return checked(got.json())

    def streamed(body: dict[str, Any]) -> Response:
        stream = events(live.post(RESPONSES, json=BASE | body | {"stream": True}).text)
        for event in stream:
            EVENT.validate_python(event)
        return checked(stream[-1]["response"])

    return whole if request.param == "whole" else streamed


def checked(body: dict[str, Any]) -> Response:
    assert body.keys() >= REQUIRED
    assert body["error"] is None
    usage = body["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0
    return Response.model_validate(body)


def test_basic_text(answer: Any) -> None:
    response = answer(
        {"input": [{"type": "message", "role": "user", "content": "Say hello in three words."}]}
    )
    assert response.output
    assert response.output_text
    assert response.status in ("completed", "incomplete")


def test_system_prompt(answer: Any) -> None:
    plain = answer({"input": "Say hello.", "max_output_tokens": 8})
    told = [
        {"type": "message", "role": "system", "content": "You are a pirate."},
        {"type": "message", "role": "user", "content": "Say hello."},
    ]
    response = answer({"input": told, "max_output_tokens": 8})
    assert response.usage.input_tokens > plain.usage.input_tokens
    same = answer(
        {"input": "Say hello.", "instructions": "You are a pirate.", "max_output_tokens": 8}
    )
    assert same.output_text == response.output_text


def test_multi_turn(answer: Any) -> None:
    items = [
        {"type": "message", "role": "user", "content": "My name is Alice."},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hello Alice!", "annotations": []}],
        },
        {"type": "message", "role": "user", "content": "What is my name?"},
    ]
    assert answer({"input": items, "max_output_tokens": 8}).output_text


def test_image_input(answer: Any, golden: Path) -> None:
    photo = data_url(next((golden / "preprocess_io").glob("*.png")))
    parts = [
        {"type": "input_text", "text": "What do you see in this image?"},
        {"type": "input_image", "image_url": photo},
    ]
    items = [{"type": "message", "role": "user", "content": parts}]
    response = answer({"input": items, "max_output_tokens": 8})
    assert response.output_text
    assert response.usage.input_tokens_details.multimodal_tokens == {"image": 1}


def test_tool_calling(answer: Any) -> None:
    body = {
        "input": "What is the weather in Rome?",
        "tools": [WEATHER],
        "tool_choice": "required",
        "parallel_tool_calls": False,
    }
    (call,) = answer(body).output
    assert (call.type, call.name, call.status) == ("function_call", "weather", "completed")
    assert json.loads(call.arguments)["city"] in ("Rome", "Oslo")
