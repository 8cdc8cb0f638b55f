"""Token ids in, text out, as they come: never half a character.

What is fed piece by piece adds up to what `Tokenizer.decode` says of all ids at once.
"""

import codecs

from pandagpt.model.tokenizer import UTF8_ERRORS, Tokenizer

_Utf8Decoder = codecs.getincrementaldecoder("utf-8")


class Detokenizer:
    def __init__(self, tokenizer: Tokenizer, skip_special: bool = True) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._decoder = _Utf8Decoder(UTF8_ERRORS)
        self._at_start = tokenizer.adds_blank

    def feed(self, token_id: int) -> str:
        data = self._tokenizer.token_bytes(token_id) or self._special(token_id)
        if self._at_start and data:
            # The first blank is the tokenizer's own: it puts one before every text.
            self._at_start = False
            data = data.removeprefix(b" ")
        return self._decoder.decode(data)

    def flush(self) -> str:
        """What is left of an unfinished character, as replacement marks."""
        return self._decoder.decode(b"", final=True)

    def _special(self, token_id: int) -> bytes:
        if self._skip_special:
            return b""
        return self._tokenizer.decode([token_id], skip_special=False).encode()
