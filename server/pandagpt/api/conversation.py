"""OpenAI's messages to the turns of the prompt and a list of media that are still undecoded.

Knows roles and content parts. Decodes nothing, knows no tokenizer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pandagpt.api.schemas.chat import Message
from pandagpt.api.schemas.long_text import LongText
from pandagpt.api.schemas.parts import (
    AudioUrlPart,
    ContentPart,
    DepthPart,
    FilePart,
    ImagePart,
    ImuUrlPart,
    InputAudioPart,
    InputImuPart,
    RefusalPart,
    Source,
    TextPart,
    ThermalPart,
    VideoPart,
)
from pandagpt.api.tools import calls_text
from pandagpt.errors import (
    InvalidValue,
    MissingParameter,
    RequestError,
    UnsupportedContentType,
)
from pandagpt.media.modality import Modality
from pandagpt.media.options import MediaOptions
from pandagpt.model.prompt import MediaRef, Turn

TURN_ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    # Vicuna knows no tool turns: a result is something the assistant is told.
    "tool": "user",
    "function": "user",
}


@dataclass(frozen=True, slots=True)
class MediaSource:
    """An uploaded file if `file_id`; else `text` is a URL, or bare base64 if `is_data`.

    `modality` None: by content.
    """

    param: str
    modality: Modality | None
    text: str | LongText
    is_data: bool = False
    options: MediaOptions = field(default_factory=MediaOptions)
    file_id: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    turns: tuple[Turn, ...]
    media: tuple[MediaSource, ...]

    @property
    def num_chars(self) -> int:
        return sum(len(part) for turn in self.turns for part in turn.parts if isinstance(part, str))


def read_messages(
    messages: Sequence[Message], max_media: int, instruction: str = ""
) -> Conversation:
    """`instruction` is told the model beside what the system messages say.

    Raises MissingParameter, UnsupportedContentType, UnsupportedValue or InvalidValue.
    """
    media: list[MediaSource] = []
    functions = {call.id: call.function.name for m in messages for call in m.tool_calls}
    turns = [_turn(m, f"messages[{i}]", media, functions) for i, m in enumerate(messages)]
    if instruction:
        has_system = turns[0].role == "system"
        system = turns.pop(0).parts if has_system else ()
        turns.insert(0, Turn("system", (*system, instruction)))
    if len(media) > max_media:
        message = f"The request has {len(media)} media; the limit is {max_media}."
        raise InvalidValue(message, "messages")
    return Conversation(tuple(turns), tuple(media))


def _turn(
    message: Message, param: str, media: list[MediaSource], functions: Mapping[str, str]
) -> Turn:
    if message.content is None and message.role != "assistant":
        raise MissingParameter(
            f"Missing required parameter: '{param}.content'.", f"{param}.content"
        )
    if message.role == "tool" and message.tool_call_id is None:
        place = f"{param}.tool_call_id"
        raise MissingParameter(f"Missing required parameter: '{place}'.", place)
    parts: list[str | MediaRef] = []
    for index, part in enumerate(message.content or ()):
        place = f"{param}.content[{index}]"
        if isinstance(part, (TextPart, RefusalPart)):
            parts.append(part.text if isinstance(part, TextPart) else part.refusal)
            continue
        if message.role != "user":
            raise UnsupportedContentType(
                f"'{part.type}' is not allowed in a message of role '{message.role}'. "
                "Only user messages may hold media.",
                place,
            )
        parts.append(MediaRef(len(media)))
        media.append(_media_source(part, f"{place}.{part.type}"))
    if message.role in ("tool", "function"):
        function = message.name or functions.get(message.tool_call_id or "", "the function")
        parts.insert(0, f"Result of {function}:")
    if message.tool_calls:
        parts.append(calls_text(message.tool_calls))
    return Turn(TURN_ROLES[message.role], tuple(parts))


def _media_source(part: ContentPart, param: str) -> MediaSource:
    match part:
        case ImagePart():
            return _from_url(part.image_url, Modality.IMAGE, param)
        case VideoPart():
            return _from_url(part.video_url, Modality.VIDEO, param)
        case AudioUrlPart():
            return _from_url(part.audio_url, Modality.AUDIO, param)
        case ThermalPart():
            return _from_url(part.thermal_url, Modality.THERMAL, param)
        case DepthPart(depth_url=source):
            values = source.model_dump(include={"kind", "scale", "focal_px", "baseline_m"})
            return _from_url(source, Modality.DEPTH, param, _options(param, **values))
        case ImuUrlPart(imu_url=source):
            options = _options(param, format=source.format, sample_rate_hz=source.sample_rate)
            return _from_url(source, Modality.IMU, param, options)
        case InputAudioPart():
            return MediaSource(param, Modality.AUDIO, part.input_audio.data, is_data=True)
        case InputImuPart(input_imu=given):
            options = _options(param, format=given.format, sample_rate_hz=given.sample_rate)
            return MediaSource(param, Modality.IMU, given.data, True, options)
        case FilePart():
            return _from_file(part, param)
    raise AssertionError(part)


def _options(param: str, **values: Any) -> MediaOptions:
    try:
        return MediaOptions(**values)
    except RequestError as error:
        raise error.at(f"{param}.{error.param}") from None


def _from_url(
    source: Source, modality: Modality, param: str, options: MediaOptions | None = None
) -> MediaSource:
    url, file_id = source.url or "", source.file_id or ""
    return MediaSource(param, modality, url, False, options or MediaOptions(), file_id)


def _from_file(part: FilePart, param: str) -> MediaSource:
    file = part.file
    modality = Modality(file.modality) if file.modality else None
    data, file_id = file.file_data or "", file.file_id or ""
    return MediaSource(param, modality, data, is_data=True, file_id=file_id)
