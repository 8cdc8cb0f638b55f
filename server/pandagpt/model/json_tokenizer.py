"""Hugging Face's `tokenizer.json` as a Tokenizer, by the `tokenizers` library.

Two families are read: SentencePiece's pieces (blanks as low bars, bytes as `<0x0A>`) and
byte-level BPE. A decoder of any other kind is refused, since its bytes would be guessed.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import tokenizers

from pandagpt.errors import CheckpointError
from pandagpt.model.tokenizer import Tokenizer, Vocabulary, piece_bytes, utf8

_BYTE = re.compile("<0x[0-9A-F]{2}>")
_PIECE_DECODERS = {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}


class JsonTokenizer(Tokenizer):
    """`bos` and `eos` are tokens by name, or by id where the folder gives no name."""

    def __init__(self, data: bytes, bos: str | int, eos: str | int) -> None:
        self._plain, self._markup = _parse(data), _parse(data)
        self._plain.encode_special_tokens = True  # which means: as text
        decoders = list(_decoders(json.loads(data).get("decoder")))
        kinds = {decoder["type"] for decoder in decoders}
        is_byte_level = kinds == {"ByteLevel"}
        if not kinds or not (is_byte_level or kinds <= _PIECE_DECODERS):
            named = ", ".join(sorted(kinds)) or "none"
            raise CheckpointError(
                f"its decoder is {named}; byte-level BPE and SentencePiece's are supported"
            )
        super().__init__(
            _vocabulary(self._plain, bos, eos, is_byte_level),
            adds_blank=any(_takes_blank(decoder) for decoder in decoders),
        )

    def encode(self, text: str) -> list[int]:
        utf8(text)
        return self._plain.encode(text, add_special_tokens=False).ids

    def encode_markup(self, text: str) -> list[int]:
        utf8(text)
        return self._markup.encode(text, add_special_tokens=False).ids

    def encode_with_special(self, text: str) -> list[int]:
        utf8(text)
        return self._plain.encode(text, add_special_tokens=True).ids


def _parse(data: bytes) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_buffer(data)
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"is not a tokenizer of the tokenizers library ({error})") from None


def _decoders(decoder: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    if decoder is None:
        return
    if decoder["type"] == "Sequence":
        yield from decoder["decoders"]
    else:
        yield decoder


def _takes_blank(decoder: Mapping[str, Any]) -> bool:
    if decoder["type"] == "Metaspace":
        return decoder.get("prepend_scheme", "always") != "never"
    return decoder["type"] == "Strip" and decoder["start"] > 0


def _vocabulary(
    backend: tokenizers.Tokenizer, bos: str | int, eos: str | int, is_byte_level: bool
) -> Vocabulary:
    ids = backend.get_vocab(with_added_tokens=True)
    added = backend.get_added_tokens_decoder()
    pieces = [""] * (max(ids.values()) + 1)
    for piece, token_id in ids.items():
        pieces[token_id] = piece
    special_ids = frozenset(i for i, token in added.items() if token.special)
    texts = [_text(piece, is_byte_level) for piece in pieces]
    for token_id, token in added.items():
        texts[token_id] = b"" if token.special else token.content.encode()
    return Vocabulary(tuple(pieces), tuple(texts), special_ids, _id_of(bos, ids), _id_of(eos, ids))


def _text(piece: str, is_byte_level: bool) -> bytes:
    if is_byte_level:
        return b"".join(_BYTE_OF.get(char, char.encode()) for char in piece)
    return piece_bytes(piece, is_byte=_BYTE.fullmatch(piece) is not None)


def _id_of(token: str | int, ids: Mapping[str, int]) -> int:
    if isinstance(token, str) and token not in ids:
        raise CheckpointError(f"has no token {token!r}, which tokenizer_config.json names")
    return ids[token] if isinstance(token, str) else token


def _bytes_by_char() -> dict[str, bytes]:
    """GPT-2's table: printable Latin-1 stands for itself, the other bytes follow from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    table = {chr(byte): bytes([byte]) for byte in printable}
    return table | {chr(0x100 + i): bytes([byte]) for i, byte in enumerate(others)}


_BYTE_OF = _bytes_by_char()
