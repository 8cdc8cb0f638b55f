"""Where a medium's bytes come from: base64, data URLs and the samples of the package.

Everything is checked before it is decoded; nothing here touches a network, and no path but
those of the package's own samples is ever opened.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pandagpt
from pandagpt.api.schemas.long_text import PIECE_BYTES, LongText
from pandagpt.errors import InvalidMedia, MediaNotAllowed, MediaTooLarge

SAMPLES_DIR = Path(pandagpt.__file__).parent / "samples"
SAMPLE_SCHEME = "sample://"
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31}):", re.ASCII)
DATA_HEADER = re.compile(r"data:[^,;]*(;[^,;]*)*;base64", re.ASCII | re.IGNORECASE)
MAX_DATA_HEADER_CHARS = 512
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \t\n\r\f"


def scheme_of(url: str | LongText) -> str:
    """In lower case; empty where there is none."""
    match = SCHEME.match(_head(url))
    return match[1].lower() if match else ""


def read_url(url: str | LongText, max_bytes: int) -> bytes:
    """Raises InvalidMedia, MediaTooLarge or MediaNotAllowed."""
    scheme = scheme_of(url)
    if scheme == "data":
        return _read_data_url(url, max_bytes)
    if scheme == "sample":
        return _read_sample(_head(url))
    if scheme == "file":
        raise MediaNotAllowed(
            "This server reads no media from its own disk. "
            "Send the bytes as a data URL: data:;base64,..."
        )
    if scheme:
        raise MediaNotAllowed(f"'{scheme}:' URLs are not allowed. Use a data URL.")
    raise InvalidMedia("This is not a URL. Expected data:<type>;base64,... or sample://NAME.")


def decode_base64(text: str | LongText, max_bytes: int, start: int = 0) -> bytes:
    """As browsers read data URLs (WHATWG's forgiving-base64: blanks, no padding), and in the
    URL-safe alphabet too: encoders that break lines or leave `=` out are common.
    """
    num_bytes = (len(text) - start) * 3 // 4
    if num_bytes > max_bytes + 2:
        raise MediaTooLarge(f"The medium has about {num_bytes} bytes; the limit is {max_bytes}.")
    try:
        data = b"".join(_decoded(_pieces(text, start)))
    except (binascii.Error, UnicodeEncodeError):
        raise InvalidMedia("The medium's data is not valid base64.") from None
    if not data:
        raise InvalidMedia("The medium is empty.")
    return data


def _pieces(text: str | LongText, start: int) -> Iterator[bytes]:
    if isinstance(text, LongText):
        yield from text.pieces(start)
        return
    for begin in range(start, len(text), PIECE_BYTES):
        yield text[begin : begin + PIECE_BYTES].encode("ascii")


def _decoded(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """In whole groups of four characters: binascii keeps other threads waiting while it works,
    so it gets a piece at a time."""
    rest, is_padded = b"", False
    for piece in pieces:
        packed = rest + piece.translate(_URL_SAFE, delete=_BLANKS)
        if is_padded and packed:
            raise binascii.Error("data behind the padding")
        whole = len(packed) & ~3
        is_padded = b"=" in packed[whole - 4 : whole]
        yield base64.b64decode(packed[:whole], validate=True)
        rest = packed[whole:]
    if is_padded and rest:
        raise binascii.Error("data behind the padding")
    yield base64.b64decode(rest + b"=" * (-len(rest) % 4), validate=True)


def _head(text: str | LongText) -> str:
    """Enough of it to see what it is."""
    return text.head(MAX_DATA_HEADER_CHARS) if isinstance(text, LongText) else text


def decode_data(text: str | LongText, max_bytes: int) -> bytes:
    """Base64, or a URL where only base64 was asked for: clients send both, and samples are URLs.

    Base64 has no colon, so the two cannot be mistaken for each other.
    """
    if SCHEME.match(_head(text)):
        return read_url(text, max_bytes)
    return decode_base64(text, max_bytes)


def _read_data_url(url: str | LongText, max_bytes: int) -> bytes:
    head = _head(url)
    comma = head.find(",", 0, MAX_DATA_HEADER_CHARS)
    if comma < 0 or not DATA_HEADER.fullmatch(head, 0, comma):
        raise InvalidMedia("A data URL must look like data:<type>;base64,<data>.")
    return decode_base64(url, max_bytes, comma + 1)


def _read_sample(url: str) -> bytes:
    samples = _samples()
    if (path := samples.get(url[len(SAMPLE_SCHEME) :])) is None:
        raise InvalidMedia(f"No such sample. There are: {', '.join(samples)}.")
    return path.read_bytes()


def sample_names() -> tuple[str, ...]:
    return tuple(_samples())


@cache
def _samples() -> dict[str, Path]:
    """Looked up by whole name, so no name can lead out of the folder."""
    files = (path for path in sorted(SAMPLES_DIR.glob("*")) if path.is_file())
    return {path.name: path for path in files if path.suffix not in (".md", ".py")}
