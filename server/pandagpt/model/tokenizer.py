"""Text to token ids and back: what every tokenizer offers, and SentencePiece, as Vicuna has it.

Special tokens typed into a text (`<s>`, `</s>`, `<unk>`) stay text, but in `encode_markup`.
Knows nothing of prompts; each segment of a prompt is one call of `encode`.
"""

import codecs
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import sentencepiece

from pandagpt.errors import CheckpointError, InvalidValue

UTF8_ERRORS = "pandagpt-one-replacement-per-byte"
"""Error handler for `bytes.decode`: SentencePiece writes one U+FFFD for each invalid byte."""

_BLANK = "▁"


def _replace_each_byte(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\ufffd" * (error.end - error.start), error.end


codecs.register_error(UTF8_ERRORS, _replace_each_byte)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Token i is written `pieces[i]` and adds `texts[i]` to a text; special tokens add nothing."""

    pieces: tuple[str, ...]
    texts: tuple[bytes, ...]
    special_ids: frozenset[int]
    bos_id: int
    eos_id: int


class Tokenizer(ABC):
    def __init__(self, vocabulary: Vocabulary, *, adds_blank: bool) -> None:
        """`adds_blank`: `encode` puts a blank before every text, so decoding takes one away."""
        self._vocabulary = vocabulary
        self.adds_blank = adds_blank
        self.vocab_size = len(vocabulary.pieces)
        self.bos_id = vocabulary.bos_id
        self.eos_id = vocabulary.eos_id

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """No special tokens are added, and none is read out of `text`."""

    @abstractmethod
    def encode_markup(self, text: str) -> list[int]:
        """The same, but special tokens written out in `text` are read as such."""

    def encode_with_special(self, text: str) -> list[int]:
        """With the special tokens that the model expects around a text."""
        return [self.bos_id, *self.encode(text)]

    @property
    def special_pieces(self) -> frozenset[str]:
        return frozenset(self._vocabulary.pieces[i] for i in self._vocabulary.special_ids)

    def piece(self, token_id: int) -> str:
        return self._vocabulary.pieces[token_id] if 0 <= token_id < self.vocab_size else ""

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """The text of `ids`, without the one leading blank that `encode` may have put there."""
        data = b"".join(self.token_bytes(i) if skip_special else self._shown(i) for i in ids)
        data = data.removeprefix(b" ") if self.adds_blank else data
        return data.decode("utf-8", UTF8_ERRORS)

    def token_bytes(self, token_id: int) -> bytes:
        """What this token adds to the text; ids past the vocabulary (Vicuna's `[PAD]`) nothing."""
        return self._vocabulary.texts[token_id] if token_id < self.vocab_size else b""

    def _shown(self, token_id: int) -> bytes:
        if token_id in self._vocabulary.special_ids:
            return self.piece(token_id).encode()
        return self.token_bytes(token_id)


class SentencePieceTokenizer(Tokenizer):
    def __init__(self, model: bytes) -> None:
        self._processor = _parse(model)
        super().__init__(_vocabulary(self._processor), adds_blank=True)
        # Splits at `</s>` and its like, and keeps them.
        self._markup = re.compile("(" + "|".join(map(re.escape, self.special_pieces)) + ")")
        self._special = {self.piece(i): i for i in self._vocabulary.special_ids}

    def encode(self, text: str) -> list[int]:
        """SentencePiece puts a blank before every call's text."""
        return self._processor.encode(utf8(text))

    def encode_markup(self, text: str) -> list[int]:
        ids: list[int] = []
        for part in filter(None, self._markup.split(text)):
            ids += [self._special[part]] if part in self._special else self.encode(part)
        return ids


def utf8(text: str) -> bytes:
    """Raises InvalidValue for half of a surrogate pair, which JSON can hold."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        half = f"U+{ord(text[error.start]):04X} at character {error.start}"
        message = f"The text holds half of a surrogate pair ({half}); send valid Unicode."
        raise InvalidValue(message) from None


def _vocabulary(processor: sentencepiece.SentencePieceProcessor) -> Vocabulary:
    ids = range(processor.vocab_size())
    special_ids = frozenset(i for i in ids if processor.is_control(i) or processor.is_unknown(i))
    pieces = tuple(processor.id_to_piece(i) for i in ids)
    return Vocabulary(
        pieces,
        tuple(
            b"" if i in special_ids else piece_bytes(piece, is_byte=processor.is_byte(i))
            for i, piece in enumerate(pieces)
        ),
        special_ids,
        processor.bos_id(),
        processor.eos_id(),
    )


def piece_bytes(piece: str, *, is_byte: bool) -> bytes:
    """`<0x0A>` is a byte of its own; elsewhere a blank is written as a low bar."""
    return bytes([int(piece[1:-1], 16)]) if is_byte else piece.replace(_BLANK, " ").encode()


def _parse(model: bytes) -> sentencepiece.SentencePieceProcessor:
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.load_from_serialized_proto(model)
    except (RuntimeError, TypeError):
        message = f"the tokenizer ({len(model)} bytes) is not a SentencePiece model"
        raise CheckpointError(message) from None
    return processor
