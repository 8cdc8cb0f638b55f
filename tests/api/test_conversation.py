"""Messages to turns and media sources: roles, order, joined texts, options."""

from typing import Any

import pytest

from pandagpt.api.conversation import Conversation, read_messages
from pandagpt.api.schemas.chat import Message
from pandagpt.errors import (
    InvalidValue,
    MissingParameter,
    RequestError,
    UnsupportedContentType,
    UnsupportedValue,
)
from pandagpt.media.modality import Modality
from pandagpt.media.options import MediaOptions
from pandagpt.model.prompt import MediaRef, Turn

PICTURE = {"type": "image_url", "image_url": {"url": "data:a"}}


def read(*messages: dict[str, Any], max_media: int = 4) -> Conversation:
    return read_messages([Message.model_validate(message) for message in messages], max_media)


def test_roles_and_texts() -> None:
    texts = [{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}]
    conversation = read(
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": texts},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"role": "assistant"},
    )
    assert conversation.turns == (
        Turn("system", ("Be brief.",)),
        Turn("user", ("a", "b")),
        Turn("assistant", ("No.",)),
        Turn("assistant", ()),
    )
    assert conversation.num_chars == len("Be brief.abNo.")


def test_tools_are_told_as_text() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "rain", "arguments": '{"a":1}'}}
    conversation = read(
        {"role": "assistant", "content": "Let me see.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "wet"},
        {"role": "function", "name": "rain", "content": "dry"},
    )
    assert conversation.turns == (
        Turn("assistant", ("Let me see.", '[{"name":"rain","arguments":{"a":1}}]')),
        Turn("user", ("Result of rain:", "wet")),
        Turn("user", ("Result of rain:", "dry")),
    )


def test_an_instruction_joins_the_system_message() -> None:
    question = Message.model_validate({"role": "user", "content": "Hi"})
    system = Message.model_validate({"role": "system", "content": "Be brief."})
    alone = read_messages([question], 4, "Call f.")
    assert alone.turns[0] == Turn("system", ("Call f.",))
    joined = read_messages([system, question], 4, "Call f.")
    assert joined.turns == (Turn("system", ("Be brief.", "Call f.")), Turn("user", ("Hi",)))


def test_media_keep_their_place() -> None:
    conversation = read(
        {"role": "user", "content": [PICTURE, {"type": "text", "text": "and"}, PICTURE]},
        {"role": "user", "content": [PICTURE]},
    )
    assert conversation.turns[0].parts == (MediaRef(0), "and", MediaRef(1))
    assert conversation.turns[1].parts == (MediaRef(2),)
    assert [source.param for source in conversation.media] == [
        "messages[0].content[0].image_url",
        "messages[0].content[2].image_url",
        "messages[1].content[0].image_url",
    ]


@pytest.mark.parametrize(
    ("part", "modality", "options", "is_data"),
    [
        (PICTURE, Modality.IMAGE, {}, False),
        ({"type": "video_url", "video_url": "data:a"}, Modality.VIDEO, {}, False),
        ({"type": "audio_url", "audio_url": "data:a"}, Modality.AUDIO, {}, False),
        ({"type": "thermal_url", "thermal_url": "data:a"}, Modality.THERMAL, {}, False),
        (
            {
                "type": "depth_url",
                "depth_url": {"url": "data:a", "scale": 0.01, "focal_px": 500, "baseline_m": 0.1},
            },
            Modality.DEPTH,
            {"scale": 0.01, "focal_px": 500, "baseline_m": 0.1},
            False,
        ),
        (
            {"type": "depth_url", "depth_url": {"url": "data:a", "kind": "disparity"}},
            Modality.DEPTH,
            {"kind": "disparity"},
            False,
        ),
        (
            {"type": "imu_url", "imu_url": {"url": "data:a", "sample_rate": 50}},
            Modality.IMU,
            {"sample_rate_hz": 50},
            False,
        ),
        (
            {"type": "input_imu", "input_imu": {"data": "a", "format": "npy"}},
            Modality.IMU,
            {"format": "npy"},
            True,
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "a", "format": "mp3"}},
            Modality.AUDIO,
            {},
            True,
        ),
        ({"type": "file", "file": {"file_data": "a"}}, None, {}, True),
        (
            {"type": "file", "file": {"file_data": "a", "modality": "depth"}},
            Modality.DEPTH,
            {},
            True,
        ),
    ],
)
def test_every_part(
    part: dict[str, Any], modality: Modality | None, options: dict[str, Any], is_data: bool
) -> None:
    (source,) = read({"role": "user", "content": [part]}).media
    assert (source.modality, source.is_data) == (modality, is_data)
    assert source.options == MediaOptions(**options)
    assert source.text in ("a", "data:a")


@pytest.mark.parametrize(
    ("message", "error", "param"),
    [
        ({"role": "user"}, MissingParameter, "messages[0].content"),
        ({"role": "tool", "tool_call_id": "x"}, MissingParameter, "messages[0].content"),
        ({"role": "tool", "content": "x"}, MissingParameter, "messages[0].tool_call_id"),
        (
            {"role": "system", "content": [PICTURE]},
            UnsupportedContentType,
            "messages[0].content[0]",
        ),
        (
            {
                "role": "user",
                "content": [
                    {
                        "type": "depth_url",
                        "depth_url": {"url": "a", "kind": "disparity", "scale": 2},
                    }
                ],
            },
            UnsupportedValue,
            "messages[0].content[0].depth_url.scale",
        ),
        ({"role": "user", "content": [PICTURE] * 5}, InvalidValue, "messages"),
    ],
)
def test_refusals(message: dict[str, Any], error: type[RequestError], param: str) -> None:
    with pytest.raises(error) as caught:
        read(message)
    assert caught.value.param == param
