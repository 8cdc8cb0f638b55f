"""Text -> the fixed row of token ids that ImageBind's text encoder reads.

Two vocabularies: CLIP's byte-pair merges (published checkpoints) and a bundle's own
SentencePiece pieces with one end token behind them (the tiny model). Not the prompt's
tokenizer, and no truncation of prompts: those belong to the language model.
"""

import gzip
import html
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Literal, Self

import ftfy
import numpy as np
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from pandagpt.errors import ContextLengthExceeded

CONTEXT_LENGTH = 77
TextVocabulary = Literal["clip", "sentencepiece"]
# What happens to a text that is too long. "keep_end" is upstream ImageBind's rule; "lose_end"
# that of the copy inside PandaGPT, whose pooling then picks an ordinary token.
Truncation = Literal["keep_end", "lose_end", "refuse"]

CLIP_VOCABULARY = Path(__file__).parent / "clip_vocabulary.txt.gz"
CLIP_NUM_MERGES = 48894
CLIP_START_ID = 49406
CLIP_END_ID = 49407
CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
WORD_END = "</w>"


@dataclass(frozen=True, slots=True)
class TextTokenizer:
    """`pieces` gives a text's own ids; `end_id` must be the vocabulary's largest id."""

    pieces: Callable[[str], list[int]]
    start_ids: tuple[int, ...]
    end_id: int
    context_length: int = CONTEXT_LENGTH

    @classmethod
    def clip(cls, context_length: int = CONTEXT_LENGTH) -> Self:
        return cls(clip_pieces, (CLIP_START_ID,), CLIP_END_ID, context_length)

    @classmethod
    def sentencepiece(
        cls,
        encode: Callable[[str], list[int]],
        vocab_size: int,
        context_length: int = CONTEXT_LENGTH,
    ) -> Self:
        return cls(encode, (), vocab_size, context_length)

    def encode(self, text: str, truncation: Truncation = "keep_end") -> np.ndarray:
        """-> int64 [context_length]: start, pieces, end, zeros."""
        ids = self.ids(text)
        if len(ids) > self.context_length:
            ids = self._cut(ids, truncation)
        row = np.zeros(self.context_length, dtype=np.int64)
        row[: len(ids)] = ids
        return row

    def ids(self, text: str) -> list[int]:
        """All ids with start and end, however many they are (the count of `usage`)."""
        return [*self.start_ids, *self.pieces(text), self.end_id]

    def _cut(self, ids: list[int], truncation: Truncation) -> list[int]:
        limit = self.context_length
        if truncation == "refuse":
            raise ContextLengthExceeded(
                f"The text is {len(ids)} tokens long, the text encoder reads {limit}. "
                "Shorten it, or ask for truncation."
            )
        return ids[:limit] if truncation == "lose_end" else [*ids[: limit - 1], self.end_id]


def clip_pieces(text: str) -> list[int]:
    return _clip_bpe().encode(clean(text)).ids


def clean(text: str) -> str:
    """CLIP's cleaning: broken encodings, HTML entities (twice), blanks, case."""
    unescaped = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(unescaped.split()).lower()


@cache
def _clip_bpe() -> Tokenizer:
    """Byte-level BPE over CLIP's published merges; a literal `<|endoftext|>` stays text."""
    merges = _clip_merges()
    symbols = _byte_symbols()
    words = [*symbols, *(symbol + WORD_END for symbol in symbols), *map("".join, merges)]
    vocabulary = {word: index for index, word in enumerate(words)}
    bpe = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix=WORD_END))
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return bpe


def _clip_merges() -> list[tuple[str, str]]:
    """Line 1 is a version; the file holds more merges than the vocabulary has."""
    with gzip.open(CLIP_VOCABULARY, "rt", encoding="utf-8") as lines:
        pairs = (line.split() for line in islice(lines, 1, 1 + CLIP_NUM_MERGES))
        return [(left, right) for left, right in pairs]


def _byte_symbols() -> list[str]:
    """One visible character a byte, in CLIP's order: those visible as they are come first."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = sorted(set(range(256)) - set(visible))
    return [*map(chr, visible), *(chr(256 + index) for index in range(len(hidden)))]
