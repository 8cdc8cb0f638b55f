"""Long strings of a JSON body stay in it as bytes: hoisted before it is parsed, put back after.

One call of a JSON parser on 64 MB keeps every other thread waiting for the interpreter, so
no call here sees more than a piece. Hoisting is blind to JSON's structure: where a string
would not be one, a token stands instead, and the parser refuses the rest as it would have.
"""

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema, from_json

from pandagpt.errors import InvalidJson

# Each literal of twice as much is hoisted, and none of less than this.
MIN_LITERAL_BYTES = 4096
# A call on as much takes one or two milliseconds.
PIECE_BYTES = 2**20
# What is left of a body: a JSON parser takes up to 20 ms for as much, if all of it are escapes.
MAX_REST_BYTES = 4 * 2**20
# A text outside media, far over any context: one string is made of it, in 10 ms.
MAX_TEXT_BYTES = 16 * 2**20

MEDIA_KEYS = frozenset(
    {
        *("url", "data", "file_data", "image_url", "video_url", "audio_url"),
        *("thermal_url", "depth_url", "imu_url"),
    }
)
MEDIA_FIELDS = frozenset({"messages", "input"})
"""The fields of a body that hold media, and the keys below them that may keep a LongText."""

_BEFORE = frozenset(b"[{:, \t\r\n")
_FIRST = re.compile(rb"[A-Za-z0-9+/_\\-]")
_LONGEST_ESCAPE = len("\\u0041")


@dataclass(frozen=True, slots=True)
class LongText:
    """ASCII text in pieces of at most PIECE_BYTES, most of them views of the body."""

    parts: tuple[bytes | memoryview, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __str__(self) -> str:
        return b"".join(self.parts).decode("ascii")

    def head(self, num_chars: int) -> str:
        taken = b""
        for part in self.parts:
            if len(taken) < num_chars:
                taken += part[: num_chars - len(taken)]
        return taken.decode("ascii")

    def pieces(self, start: int = 0) -> Iterator[bytes]:
        """From the character `start` on."""
        for part in self.parts:
            if start < len(part):
                yield bytes(part[start:])
            start = max(0, start - len(part))

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        written = core_schema.plain_serializer_function_ser_schema(str)
        return core_schema.is_instance_schema(cls, serialization=written)


def hoist(body: bytes | bytearray) -> tuple[bytes, dict[str, LongText]]:
    """The body with tokens for its long ASCII strings, and those by their tokens.

    Tokens cannot be guessed, so no string of the sender is mistaken for one.
    """
    view, nonce = memoryview(body), secrets.token_hex(16)
    kept: list[bytes | memoryview] = []
    texts: dict[str, LongText] = {}
    done = 0
    for start, end in _literals(body):
        if text := _read(view[start:end]):
            token = f"text{nonce}{len(texts)}"
            texts[token] = text
            kept += [view[done:start], token.encode()]
            done = end
    kept.append(view[done:])
    if (num_bytes := sum(map(len, kept))) > MAX_REST_BYTES:
        what = f"The body has {num_bytes} bytes besides media and long plain texts"
        raise _too_long(what, MAX_REST_BYTES)
    return b"".join(kept), texts


def _literals(body: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Where strings begin and end that may be long: a quote is looked for once a stride.

    A quote that closes a string is followed by punctuation, one inside is preceded by a
    backslash; so what is found is a string, or the body is no JSON.
    """
    done, stride = 0, MIN_LITERAL_BYTES
    while (done := done + stride) < len(body):
        start = body.rfind(b'"', done - stride, done) + 1
        if start < 2 or body[start - 2] not in _BEFORE or not _FIRST.match(body, start):
            continue
        end = body.find(b'"', start)
        if end < 0:
            return
        if end - start >= stride and body[end - 1] != ord("\\"):
            yield start, end
        done = max(done, end)


def _read(literal: memoryview) -> LongText | None:
    """None: not plain ASCII, or no valid string."""
    parts: list[bytes | memoryview] = []
    start = 0
    while start < len(literal):
        piece = bytes(literal[start : start + PIECE_BYTES])
        piece = _without_cut_escape(piece, is_last=start + len(piece) == len(literal))
        try:
            text = from_json(b'"%b"' % piece, cache_strings="none")
        except ValueError:
            return None
        if not text.isascii():
            return None
        end = start + len(piece)
        # Quotes come as escapes here (`"` in a piece would end it), so equal is untouched.
        parts.append(literal[start:end] if len(text) == len(piece) else text.encode())
        start = end
    return LongText(tuple(parts))


def _without_cut_escape(piece: bytes, *, is_last: bool) -> bytes:
    """A piece may end before an escape, not inside of one."""
    if is_last:
        return piece
    cut = piece.rfind(b"\\", len(piece) - _LONGEST_ESCAPE + 1)
    return piece[:cut] if cut > 0 else piece


def restore(data: Mapping[str, Any], texts: Mapping[str, LongText]) -> dict[str, Any]:
    """Raises InvalidJson where a text outside media is larger than any context."""
    named = [(_plain(key, texts), value) for key, value in data.items()]
    return {key: _restored(value, texts, key in MEDIA_FIELDS) for key, value in named}


def _restored(node: Any, texts: Mapping[str, LongText], may_be_media: bool, key: str = "") -> Any:
    if isinstance(node, dict):
        named = [(_plain(key, texts), value) for key, value in node.items()]
        return {key: _restored(value, texts, may_be_media, key) for key, value in named}
    if isinstance(node, list):
        return [_restored(item, texts, may_be_media) for item in node]
    if not isinstance(node, str):
        return node
    if may_be_media and key in MEDIA_KEYS:
        return texts.get(node, node)
    return _plain(node, texts)


def _plain(text: str, texts: Mapping[str, LongText]) -> str:
    if (found := texts.get(text)) is None:
        return text
    if len(found) > MAX_TEXT_BYTES:
        raise _too_long(f"A text in the body has {len(found)} bytes", MAX_TEXT_BYTES)
    return str(found)


def _too_long(what: str, limit: int) -> InvalidJson:
    return InvalidJson(f"{what}; the limit is {limit}. Send media as plain base64.")
