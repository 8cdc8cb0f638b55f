"""What the HTTP process and the engine's process say to each other, and its bytes.

Values in, frames out, and back: MessagePack, with a medium's array as a raw buffer behind it.
Every frame is read by the one type that its kind names; nothing is unpickled.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, Self

import msgspec
import numpy as np

from pandagpt.engine.config import EngineConfig
from pandagpt.engine.request import (
    Delta,
    Embeddings,
    EmbedRequest,
    Event,
    GenerateRequest,
    MediaInput,
)
from pandagpt.engine.stats import Stats
from pandagpt.errors import (
    CheckpointError,
    EngineFailure,
    InvalidSchema,
    OperatorError,
    Overloaded,
    PandaError,
)
from pandagpt.frames import Frame
from pandagpt.logs import LogFormat
from pandagpt.media.modality import Modality
from pandagpt.model.adapter_folder import VariantSource


@dataclass(frozen=True, slots=True)
class Start:
    """The first message to a new process: which folder's model to load, where and how, which may
    still be `auto`.

    `max_rows` None: as many as memory has room for and as pay; `config`'s number is not used.
    `max_step_tokens`, `max_step_seconds` None: by the device.
    `variants` are other models on the same weights; `faults` are for tests, see the module.
    """

    folder: str
    device: str
    dtype: str
    quantization: str
    config: EngineConfig
    max_rows: int | None = None
    log_format: LogFormat = "auto"
    variants: tuple[VariantSource, ...] = ()
    faults: str = ""
    enforce_eager: bool = False
    max_step_tokens: int | None = None
    max_step_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Add:
    request: GenerateRequest


@dataclass(frozen=True, slots=True)
class Embed:
    request: EmbedRequest


@dataclass(frozen=True, slots=True)
class Abort:
    request_id: str


ErrorKind = Literal[
    "CheckpointError", "EngineFailure", "InvalidSchema", "OperatorError", "Overloaded"
]
_ERRORS: dict[ErrorKind, type[PandaError]] = {
    "CheckpointError": CheckpointError,
    "EngineFailure": EngineFailure,
    "InvalidSchema": InvalidSchema,
    "OperatorError": OperatorError,
    "Overloaded": Overloaded,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of this package; other classes than these arrive as an EngineFailure.

    `retry_after_seconds`: of those that are Overloaded.
    """

    kind: ErrorKind
    message: str
    retry_after_seconds: int | None = None

    @classmethod
    def of(cls, error: PandaError) -> Self:
        kinds = (kind for kind, its_class in _ERRORS.items() if isinstance(error, its_class))
        seconds = error.retry_after_seconds if isinstance(error, Overloaded) else None
        return cls(next(kinds, "EngineFailure"), error.message, seconds)

    @property
    def error(self) -> PandaError:
        error = _ERRORS[self.kind](self.message)
        if isinstance(error, Overloaded) and self.retry_after_seconds is not None:
            error.retry_after_seconds = self.retry_after_seconds
        return error


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded and warm; in words: on what `hardware`, and for how many answers."""

    max_model_len: int
    max_rows: int
    hardware: str
    capacity: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The last message of a process that could not start."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Events:
    """All of one step. A request's failure is its last event, so it may stand behind."""

    deltas: tuple[tuple[str, Delta], ...]
    failures: tuple[tuple[str, Failure], ...] = ()
    embeddings: tuple[tuple[str, Embeddings], ...] = ()

    @classmethod
    def of(cls, events: Iterable[Event]) -> Self:
        deltas, embeddings, failures = [], [], []
        for request_id, event in events:
            if isinstance(event, Delta):
                deltas.append((request_id, event))
            elif isinstance(event, Embeddings):
                embeddings.append((request_id, event))
            else:
                failures.append((request_id, Failure.of(event)))
        return cls(tuple(deltas), tuple(failures), tuple(embeddings))

    def __iter__(self) -> Iterator[Event]:
        yield from self.deltas
        yield from self.embeddings
        for request_id, failure in self.failures:
            yield request_id, failure.error


ToEngine = Start | Add | Embed | Abort
FromEngine = Ready | Failed | Events | Stats
Message = ToEngine | FromEngine


@dataclass(frozen=True, slots=True)
class _MediumFacts:
    modality: Modality
    digest: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _AddHeader:
    """An `Add` without the arrays, which are the frame's buffers."""

    request: GenerateRequest
    media: tuple[_MediumFacts, ...]


@dataclass(frozen=True, slots=True)
class _EmbedHeader:
    """An `Embed`, likewise."""

    request: EmbedRequest
    media: tuple[_MediumFacts, ...]


_KINDS: tuple[type, ...] = (Start, _AddHeader, _EmbedHeader, Abort, Ready, Failed, Events, Stats)
_DECODERS = [msgspec.msgpack.Decoder(kind) for kind in _KINDS]
_encode = msgspec.msgpack.Encoder().encode


def to_frame(message: Message) -> Frame:
    if not isinstance(message, Add | Embed):
        return Frame(_KINDS.index(type(message)), _encode(message))
    media = message.request.media
    facts = tuple(map(_facts, media))
    if isinstance(message, Add):
        header = _AddHeader(replace(message.request, media=()), facts)
    else:
        header = _EmbedHeader(replace(message.request, media=()), facts)
    buffers = [_bytes(medium.array) for medium in media]
    return Frame(_KINDS.index(type(header)), _encode(header), buffers)


def from_frame(frame: Frame) -> Message:
    message = _DECODERS[frame.kind].decode(frame.header)
    if not isinstance(message, _AddHeader | _EmbedHeader):
        return message
    media = tuple(_medium(*pair) for pair in zip(message.media, frame.buffers, strict=True))
    if isinstance(message, _AddHeader):
        return Add(replace(message.request, media=media))
    return Embed(replace(message.request, media=media))


def _facts(medium: MediaInput) -> _MediumFacts:
    array = medium.array
    return _MediumFacts(medium.modality, medium.digest, array.dtype.str, array.shape)


def _bytes(array: np.ndarray) -> memoryview:
    """The array's own memory, where it is contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _medium(facts: _MediumFacts, buffer: bytes | bytearray | memoryview) -> MediaInput:
    array = np.frombuffer(buffer, np.dtype(facts.dtype)).reshape(facts.shape)
    return MediaInput(facts.modality, array, facts.digest)
