"""Grammars: which tokens may come next, so that an answer's text is what was asked for.

Rules go in, a matcher of tokens comes out; llguidance does the work. It was measured beside
xgrammar with this package's tokenizers (BENCHMARKS.md): its masks cost less in a vocabulary
of 32,000, and it needs no torch, which the HTTP process, where schemas are checked, has not.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Self

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from pandagpt.engine.closed_schema import closed
from pandagpt.engine.request import Grammar
from pandagpt.errors import InvalidSchema, PandaError
from pandagpt.model.tokenizer import Tokenizer

# `no_forcing`: the tokens of a text that has only one way on are the model's choice too.
_OPTIONS = '%llguidance {"no_forcing": true}\n'
# Fuel, where seconds would depend on the machine: the costliest schema takes half a second.
_LIMITS = LLParserLimits(verbose_errors=False)
# Compact: with free whitespace between its tokens a weak model never comes to an end.
_COMPACT = {"whitespace_flexible": False}
_MAX_REASON_CHARS = 300


def json_rule(schema: Mapping[str, Any]) -> str:
    """The body of a rule: JSON without whitespace that the schema, closed, holds for."""
    return f"%json {json.dumps({**closed(schema), 'x-guidance': _COMPACT})}"


def literal_rule(text: str) -> str:
    return json.dumps(text)


@dataclass(frozen=True, slots=True)
class Allowed:
    """The tokens that may come next, as booleans [V].

    `instead` tells what is taken where the likeliest token of all is one that may not come.
    """

    mask_V: np.ndarray
    instead: Mapping[int, int] = field(default_factory=dict)


class Matcher:
    """Where one text stands in its grammar."""

    def __init__(self, matcher: LLMatcher, words: "_Words") -> None:
        """Raises InvalidSchema, as all of it does: the library's limits are met at any token."""
        self._matcher = matcher
        self._words = words
        self._check()

    def copy(self) -> Self:
        return type(self)(self._matcher.deep_copy(), self._words)

    def allowed(self) -> Allowed:
        packed = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        num_tokens = len(self._words.tokens)
        mask_V = np.unpackbits(packed, count=num_tokens, bitorder="little").view(np.bool_)
        return Allowed(mask_V, self._words.string_end.instead(mask_V))

    def accept(self, token_id: int) -> None:
        self._matcher.consume_token(token_id)
        self._check()

    @property
    def is_complete(self) -> bool:
        """Nothing more may follow."""
        return self._matcher.is_stopped()

    def _check(self) -> None:
        if self._matcher.is_error():
            reason = _reason(self._matcher.get_error())
            raise InvalidSchema(f"The answer cannot be held to this schema: {reason}")


@dataclass(frozen=True, slots=True)
class CompileJob:
    request_id: str
    grammar: Grammar


@dataclass(frozen=True, slots=True)
class CompiledGrammar:
    request_id: str
    matcher: Matcher | PandaError


class GrammarCompiler:
    """For one vocabulary. May be used from several threads."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        # A text begins with the tokenizer's own blank, which the detokenizer takes away again.
        self._blank = " " if tokenizer.adds_blank else ""
        self._words = _Words(tokenizer, vocab_size)
        self._vocabulary = LLTokenizer(TokenizerWrapper(self._words))

    def compile(self, grammar: Grammar) -> Matcher:
        """Raises InvalidSchema."""
        rules = f'{_OPTIONS}start: "{self._blank}" answer\n{grammar.rules}'
        matcher = LLMatcher(self._vocabulary, rules, log_level=0, limits=_LIMITS)
        return Matcher(matcher, self._words)

    def check(self, grammar: Grammar) -> None:
        """Also whether a text can begin. Raises InvalidSchema."""
        matcher = self.compile(grammar)
        for token_id in self._vocabulary.greedy_tokenize(self._blank):
            matcher.accept(token_id)
        matcher.allowed()

    def run(self, job: CompileJob) -> CompiledGrammar:
        try:
            return CompiledGrammar(job.request_id, self.compile(job.grammar))
        except PandaError as error:
            return CompiledGrammar(job.request_id, error)


@lru_cache(maxsize=4)
def compiler_of(tokenizer: Tokenizer, vocab_size: int) -> GrammarCompiler:
    """Made at the first request that asks for it: a large vocabulary takes 60 ms."""
    return GrammarCompiler(tokenizer, vocab_size)


@dataclass(frozen=True, slots=True)
class _StringEnd:
    """How a model that wants to end its turn in the midst of a JSON string ends the string.

    A weak one never writes the quote by itself: its turns end with `</s>` or a line break, which
    the grammar bans there, and it would go on until its tokens are used up.
    """

    quote_ids: tuple[int, ...]
    letter_ids: tuple[int, ...]
    turns_end: Mapping[int, int]

    @classmethod
    def of(cls, tokens: Sequence[bytes], eos_id: int) -> Self:
        quotes, letters, breaks = (
            tuple(i for i, data in enumerate(tokens) if data == wanted)
            for wanted in (b'"', b"e", b"\n")
        )
        return cls(quotes, letters, {i: quotes[0] for i in (eos_id, *breaks) if quotes})

    def instead(self, allowed_V: np.ndarray) -> Mapping[int, int]:
        """No value begins with an `e`, so where it may stand beside a quote is within a string."""
        is_in_string = any(allowed_V[list(self.quote_ids)]) and any(
            allowed_V[list(self.letter_ids)]
        )
        return self.turns_end if is_in_string else {}


class _Words:
    """The vocabulary as llguidance asks for it. Ids past the tokenizer's own are never allowed."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        ids = range(vocab_size)
        self.bos_token_id = tokenizer.bos_id
        self.eos_token_id = tokenizer.eos_id
        self.tokens = [tokenizer.token_bytes(token_id) for token_id in ids]
        self.string_end = _StringEnd.of(self.tokens, tokenizer.eos_id)
        self.special_token_ids = [i for i in ids if not self.tokens[i] and i < tokenizer.vocab_size]

    def __call__(self, text: bytes) -> list[int]:
        """Asked only where tokens are forced, and none are."""
        return []


def _reason(error: str) -> str:
    """The library's words on the schema, without the listing of the rules behind them."""
    if error.startswith("NoExtension"):
        return "no text fulfils it."
    text = re.split(r"\n\s*\d+ \| |\n<", error)[0]
    text = re.sub(r"^at \d+\(\d+\): (failed to compile JSON schema: )?", "", text)
    return f"{' '.join(text.split())[:_MAX_REASON_CHARS]}."
