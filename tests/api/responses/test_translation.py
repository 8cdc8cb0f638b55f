"""Items to messages, and errors back to where the client can find them."""

from typing import Any

import pytest
from pydantic_core import from_json

from pandagpt.api.responses.items import listed, read_output, weighed
from pandagpt.api.responses.translation import Translation
from pandagpt.api.schemas.chat import ChatRequest
from pandagpt.api.schemas.request import validated
from pandagpt.api.schemas.responses import InputItem, ItemReference, ResponseRequest
from pandagpt.errors import InvalidMedia, InvalidValue

CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c", "output": "rain"}


def request(**fields: Any) -> ResponseRequest:
    return validated(ResponseRequest, {"input": "Hi", **fields})


def translation_of(asked: ResponseRequest, *history: InputItem) -> Translation:
    return Translation(asked, items_of(asked), history)


def items_of(asked: ResponseRequest) -> list[InputItem]:
    return [item for item in asked.input if not isinstance(item, ItemReference)]


def translated(**fields: Any) -> ChatRequest:
    return translation_of(request(**fields)).chat()


def chat(*messages: dict[str, Any], **fields: Any) -> ChatRequest:
    return validated(ChatRequest, {"messages": list(messages), **fields})


def test_messages_and_calls() -> None:
    items = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "I see."},
        CALL,
        CALL | {"call_id": "d"},
        RESULT,
    ]
    calls = [
        {"id": name, "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for name in ("c", "d")
    ]
    messages = translated(input=items, instructions="Rhyme.").messages
    assert [message.role for message in messages] == [
        *("system", "developer", "user", "assistant", "tool"),
    ]
    assert [call.model_dump() for call in messages[3].tool_calls] == calls
    assert messages[4].tool_call_id == "c"


def test_fields() -> None:
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    flat = translated(
        tools=[tool],
        tool_choice={"type": "function", "name": "f"},
        max_output_tokens=5,
        text={"format": {"type": "json_object"}},
        top_logprobs=2,
        seed=1,
        fusion="interleave",
    )
    function = {"name": "f", "parameters": {"type": "object"}}
    nested = chat(
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        tools=[{"type": "function", "function": function}],
        tool_choice={"type": "function", "function": {"name": "f"}},
        max_completion_tokens=5,
        response_format={"type": "json_object"},
        logprobs=True,
        top_logprobs=2,
        seed=1,
        fusion="interleave",
    )
    assert flat == nested


def test_files_and_pictures() -> None:
    parts = [
        {"type": "input_image", "file_id": "file-1"},
        {"type": "input_image", "image_url": "sample://a.png", "detail": "low"},
        {"type": "input_file", "file_id": "file-2", "filename": "a", "modality": "depth"},
        {"type": "input_file", "file_url": "sample://a.wav"},
    ]
    told = [
        {"type": "image_url", "image_url": {"file_id": "file-1"}},
        {"type": "image_url", "image_url": {"url": "sample://a.png", "detail": "low"}},
        {"type": "file", "file": {"file_id": "file-2", "filename": "a", "modality": "depth"}},
        {"type": "file", "file": {"file_data": "sample://a.wav"}},
    ]
    assert translated(input=[{"role": "user", "content": parts}]) == chat(
        {"role": "user", "content": told}, response_format={"type": "text"}, tool_choice="auto"
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("messages", "input"),
        ("messages[0]", "instructions"),
        ("messages[1].content[0].image_url", "input[0].content[0].image_url"),
        ("messages[1].content[0].image_url.file_id", "input[0].content[0].file_id"),
        ("messages[1].content[1].file", "input[0].content[1].file_url"),
        ("messages[1].content[1].file.file_id", "input[0].content[1].file_id"),
        ("messages[1].content[2].depth_url.scale", "input[0].content[2].depth_url.scale"),
        ("messages[3].content[0]", "input[2].output[0]"),
        ("max_completion_tokens", "max_output_tokens"),
        ("response_format.json_schema.schema", "text.format.schema"),
        ("tools[3].function.parameters", "tools[3].parameters"),
        ("temperature", "temperature"),
    ],
)
def test_places(given: str, expected: str) -> None:
    parts = [
        {"type": "input_image", "image_url": "sample://a.png"},
        {"type": "input_file", "file_url": "sample://a.wav"},
        {"type": "depth_url", "depth_url": "sample://a.png"},
    ]
    items = [{"role": "user", "content": parts}, CALL, RESULT]
    translation = translation_of(request(input=items, instructions="x"))
    translation.chat()
    assert translation.placed(InvalidMedia("no", given)).param == expected


def test_earlier_turns_are_named_by_the_id_they_came_with() -> None:
    picture = {"type": "input_image", "image_url": "sample://a.png"}
    history = items_of(request(input=[{"role": "user", "content": [picture]}]))
    translation = translation_of(request(), *history)
    translation.chat()
    error = translation.placed(InvalidMedia("no", "messages[0].content[0].image_url"))
    assert error.param == "previous_response_id"


def test_a_result_needs_its_call() -> None:
    translated(input=[CALL, RESULT])
    with pytest.raises(InvalidValue) as refusal:
        translated(input=[RESULT])
    assert refusal.value.param == "input[0].call_id"


def test_what_is_kept_is_read_as_it_was_sent() -> None:
    parts = [
        {"type": "input_text", "text": "What?"},
        {"type": "input_image", "image_url": "sample://a.png"},
        {"type": "imu_url", "imu_url": {"url": "sample://a.csv", "sample_rate": 50}},
    ]
    asked = request(input=[{"role": "user", "content": parts}, CALL, RESULT])
    stored = weighed(items_of(asked))
    items = [each.item for each in stored]
    again = [from_json(listed(item)) for item in items]
    assert request(input=again).input == items
    assert all(each.num_bytes > len(listed(each.item)) for each in stored)
    assert weighed(stored) == stored


def test_answers_are_read_as_items() -> None:
    part = {"type": "output_text", "text": "Yes.", "annotations": [], "logprobs": []}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    read = read_output([message, CALL | {"id": "fc_1", "status": "completed"}])
    assert [item.id for item in read] == ["msg_1", "fc_1"]
    assert from_json(listed(read[0].item)) == message
