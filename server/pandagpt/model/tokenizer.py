"""Text to token ids and back, by SentencePiece: one class for Vicuna and the bundled model.

Plain SentencePiece: control tokens typed into a text (`<s>`, `</s>`, `<unk>`) stay text.
Knows nothing of prompts; each segment of a prompt is one call of `encode`.
"""

import codecs
from collections.abc import Iterable

import sentencepiece

from pandagpt.errors import CheckpointError, InvalidValue

UTF8_ERRORS = "pandagpt-one-replacement-per-byte"
"""Error handler for `bytes.decode`: SentencePiece writes one U+FFFD for each invalid byte."""

_BLANK = "▁"


def _replace_each_byte(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\ufffd" * (error.end - error.start), error.end


codecs.register_error(UTF8_ERRORS, _replace_each_byte)


class Tokenizer:
    def __init__(self, model: bytes) -> None:
        self._processor = _parse(model)
        self.vocab_size: int = self._processor.vocab_size()
        self.bos_id: int = self._processor.bos_id()
        self.eos_id: int = self._processor.eos_id()
        self._pieces = [self._processor.id_to_piece(i) for i in range(self.vocab_size)]
        self._bytes = [self._piece_bytes(i) for i in range(self.vocab_size)]

    def encode(self, text: str) -> list[int]:
        """No special tokens are added. SentencePiece puts a blank before every call's text."""
        try:
            return self._processor.encode(text.encode())
        except UnicodeEncodeError as error:
            half = f"U+{ord(text[error.start]):04X} at character {error.start}"
            message = f"The text holds half of a surrogate pair ({half}); send valid Unicode."
            raise InvalidValue(message) from None

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """The text of `ids`, without the one leading blank that `encode` has put there."""
        pieces = (self.token_bytes(i) or b"" if skip_special else self._shown(i) for i in ids)
        return b"".join(pieces).removeprefix(b" ").decode("utf-8", UTF8_ERRORS)

    def token_bytes(self, token_id: int) -> bytes:
        """What this token adds to the text; ids past the vocabulary (Vicuna's `[PAD]`) nothing."""
        return self._bytes[token_id] if token_id < self.vocab_size else b""

    def _shown(self, token_id: int) -> bytes:
        if token_id < self.vocab_size and self._is_special(token_id):
            return self._pieces[token_id].encode()
        return self.token_bytes(token_id)

    def _is_special(self, token_id: int) -> bool:
        return self._processor.is_control(token_id) or self._processor.is_unknown(token_id)

    def _piece_bytes(self, token_id: int) -> bytes:
        if self._is_special(token_id):
            return b""
        piece = self._pieces[token_id]
        if self._processor.is_byte(token_id):
            return bytes([int(piece[1:-1], 16)])
        return piece.replace(_BLANK, " ").encode()


def _parse(model: bytes) -> sentencepiece.SentencePieceProcessor:
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.load_from_serialized_proto(model)
    except (RuntimeError, TypeError):
        message = f"the tokenizer ({len(model)} bytes) is not a SentencePiece model"
        raise CheckpointError(message) from None
    return processor
