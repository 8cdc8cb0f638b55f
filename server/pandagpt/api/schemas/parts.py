"""The content parts of a message: text, and six kinds of media from several sources.

Names are OpenAI's where it has them, then vLLM's (`audio_url`, `video_url`); thermal, depth
and IMU follow the same pattern.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from pandagpt.api.schemas.long_text import LongText
from pandagpt.api.schemas.request import RequestModel

AudioFormat = Literal["wav", "mp3", "flac", "ogg", "m4a"]
ImuFormat = Literal["csv", "json", "npy"]
PositiveNumber = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
SampleRate = Annotated[float, Field(ge=1, le=100_000, allow_inf_nan=False)]
NonEmpty = Annotated[str, StringConstraints(min_length=1)]


class TextPart(RequestModel):
    type: Literal["text", "input_text", "output_text"]
    text: str


class RefusalPart(RequestModel):
    type: Literal["refusal"]
    refusal: str


def check_one_source(part: RequestModel, *names: str) -> None:
    """Where a medium's bytes are is said once: by one of these fields."""
    if sum(getattr(part, name) is not None for name in names) != 1:
        *others, last = [f"'{name}'" for name in names]
        sources = f"{', '.join(others)} and {last}"
        raise PydanticCustomError("source", "give exactly one of {sources}", {"sources": sources})


class Source(RequestModel):
    """Where a medium's bytes come from: a URL, or a file that was uploaded before."""

    url: NonEmpty | LongText | None = None
    file_id: NonEmpty | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "Source":
        check_one_source(self, "url", "file_id")
        return self


class ImageSource(Source):
    detail: Literal["auto", "low", "high", "original"] = "auto"


class DepthSource(Source):
    kind: Literal["depth", "disparity"] = "depth"
    scale: PositiveNumber | None = None
    focal_px: PositiveNumber | None = None
    baseline_m: PositiveNumber | None = None


class ImuSource(Source):
    format: ImuFormat | None = None
    sample_rate: SampleRate | None = None


def _as_source(value: Any) -> Any:
    """A plain string is taken as the URL: undocumented at OpenAI, yet clients send it."""
    return {"url": value} if isinstance(value, (str, LongText)) else value


class MediaPart(RequestModel):
    uuid: str | None = None


class ImagePart(MediaPart):
    type: Literal["image_url"]
    image_url: Annotated[
        ImageSource, BeforeValidator(_as_source, json_schema_input_type=ImageSource | NonEmpty)
    ]


class VideoPart(MediaPart):
    type: Literal["video_url"]
    video_url: Annotated[
        Source, BeforeValidator(_as_source, json_schema_input_type=Source | NonEmpty)
    ]


class AudioUrlPart(MediaPart):
    type: Literal["audio_url"]
    audio_url: Annotated[
        Source, BeforeValidator(_as_source, json_schema_input_type=Source | NonEmpty)
    ]


class ThermalPart(MediaPart):
    type: Literal["thermal_url"]
    thermal_url: Annotated[
        Source, BeforeValidator(_as_source, json_schema_input_type=Source | NonEmpty)
    ]


class DepthPart(MediaPart):
    type: Literal["depth_url"]
    depth_url: Annotated[
        DepthSource, BeforeValidator(_as_source, json_schema_input_type=DepthSource | NonEmpty)
    ]


class ImuUrlPart(MediaPart):
    type: Literal["imu_url"]
    imu_url: Annotated[
        ImuSource, BeforeValidator(_as_source, json_schema_input_type=ImuSource | NonEmpty)
    ]


class InputAudio(RequestModel):
    data: str | LongText
    format: AudioFormat


class InputAudioPart(MediaPart):
    type: Literal["input_audio"]
    input_audio: InputAudio


class InputImu(RequestModel):
    data: str | LongText
    format: ImuFormat
    sample_rate: SampleRate | None = None


class InputImuPart(MediaPart):
    type: Literal["input_imu"]
    input_imu: InputImu


class FileSource(RequestModel):
    file_data: NonEmpty | LongText | None = None
    file_id: NonEmpty | None = None
    filename: str | None = None
    modality: Literal["image", "video", "audio", "depth", "thermal", "imu"] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "FileSource":
        check_one_source(self, "file_data", "file_id")
        return self


class FilePart(MediaPart):
    type: Literal["file"]
    file: FileSource


ContentPart = Annotated[
    TextPart
    | ImagePart
    | VideoPart
    | AudioUrlPart
    | InputAudioPart
    | ThermalPart
    | DepthPart
    | ImuUrlPart
    | InputImuPart
    | FilePart
    | RefusalPart,
    Field(discriminator="type"),
]
