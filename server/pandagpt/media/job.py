"""What the server and a decoder's process say to each other: a job in, its reply out.

MessagePack, with a job's file as a raw buffer behind it; nothing is unpickled. The decoded array
lies in memory that both have mapped.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

from pandagpt.errors import (
    InvalidMedia,
    InvalidValue,
    MediaTooLarge,
    RequestError,
    UnsupportedValue,
)
from pandagpt.frames import Buffer, Frame
from pandagpt.media.limits import MediaLimits
from pandagpt.media.loader import array_bytes
from pandagpt.media.modality import Modality
from pandagpt.media.options import MediaOptions

ErrorKind = Literal["InvalidMedia", "InvalidValue", "MediaTooLarge", "UnsupportedValue"]
_ERRORS: dict[ErrorKind, type[RequestError]] = {
    "InvalidMedia": InvalidMedia,
    "InvalidValue": InvalidValue,
    "MediaTooLarge": MediaTooLarge,
    "UnsupportedValue": UnsupportedValue,
}


@dataclass(frozen=True, slots=True)
class Job:
    """The file's bytes travel beside it. `modality` None: by content."""

    modality: Modality | None
    options: MediaOptions
    limits: MediaLimits


@dataclass(frozen=True, slots=True)
class Decoded:
    """float32, in the shape of its modality, at the start of the shared memory."""

    modality: Modality


@dataclass(frozen=True, slots=True)
class Refused:
    kind: ErrorKind
    message: str
    param: str | None = None

    @classmethod
    def by(cls, error: RequestError) -> "Refused":
        kinds = (kind for kind, its_class in _ERRORS.items() if isinstance(error, its_class))
        return cls(next(kinds, "InvalidMedia"), error.message, error.param)

    @property
    def error(self) -> RequestError:
        return _ERRORS[self.kind](self.message, self.param)


@dataclass(frozen=True, slots=True)
class Broken:
    """Never expected: an exception that is no refusal, or a process that died. For the log."""

    detail: str


Reply = Decoded | Refused | Broken
Message = Job | Reply

MEMORY_BYTES = array_bytes(None)

_KINDS: tuple[type, ...] = (Job, Decoded, Refused, Broken)
_DECODERS = [msgspec.msgpack.Decoder(kind) for kind in _KINDS]
_encode = msgspec.msgpack.Encoder().encode


def to_frame(message: Message, *buffers: Buffer) -> Frame:
    return Frame(_KINDS.index(type(message)), _encode(message), buffers)


def from_frame(frame: Frame) -> Message:
    """Raises ValueError for what is no message."""
    if frame.kind >= len(_KINDS):
        raise ValueError("no message of a decoder")
    return _DECODERS[frame.kind].decode(frame.header)
