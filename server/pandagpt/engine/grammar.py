"""Grammars: which tokens may come next, so that an answer's text is what was asked for.

Rules go in, a matcher of tokens comes out; llguidance does the work. xgrammar's masks take a
tenth of the time (BENCHMARKS.md), but it passes over keywords that it does not know, and it
needs torch, which the HTTP process, where schemas are checked, has not.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
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
_NOTHING: Mapping[int, int] = {}


def json_rule(schema: Mapping[str, Any]) -> str:
    """The body of a rule: JSON without whitespace that the schema, closed, holds for."""
    return f"%json {json.dumps({**closed(schema), 'x-guidance': _COMPACT})}"


def literal_rule(text: str) -> str:
    return json.dumps(text)


@dataclass(frozen=True, slots=True)
class Allowed:
    """The tokens that may come next, a bit for each, the lowest of a byte first.

    `instead` tells what is taken where the likeliest token of all is one that may not come.
    """

    bits: bytes
    num_tokens: int
    instead: Mapping[int, int]

    def has(self, token_id: int) -> bool:
        return _has(self.bits, token_id)

    @property
    def mask_V(self) -> np.ndarray:
        packed = np.frombuffer(self.bits, np.uint8)
        return np.unpackbits(packed, count=self.num_tokens, bitorder="little").view(np.bool_)


def _has(bits: bytes, token_id: int) -> bool:
    return bool(bits[token_id >> 3] >> (token_id & 7) & 1)


class Matcher:
    """Where one text stands in its grammar."""

    def __init__(self, matcher: LLMatcher, words: "Words") -> None:
        """Raises InvalidSchema, as all of it does: the library's limits are met at any token."""
        self._matcher = matcher
        self._words = words
        self._check()

    def copy(self) -> Self:
        return type(self)(self._matcher.deep_copy(), self._words)

    def allowed(self) -> Allowed:
        bits = self._matcher.compute_bitmask()
        self._check()
        return Allowed(bits, len(self._words.tokens), self._words.string_end.instead(bits))

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

    def __init__(self, words: "Words") -> None:
        self._words = words
        self._vocabulary = LLTokenizer(TokenizerWrapper(words))

    def compile(self, grammar: Grammar) -> Matcher:
        """Raises InvalidSchema."""
        rules = f'{_OPTIONS}start: "{self._words.blank}" answer\n{grammar.rules}'
        matcher = LLMatcher(self._vocabulary, rules, log_level=0, limits=_LIMITS)
        return Matcher(matcher, self._words)

    def check(self, grammar: Grammar) -> None:
        """Also whether a text can begin. Raises InvalidSchema."""
        matcher = self.compile(grammar)
        for token_id in self._vocabulary.greedy_tokenize(self._words.blank):
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
    return GrammarCompiler(Words.of(tokenizer, vocab_size))


@dataclass(frozen=True, slots=True)
class _StringEnd:
    """How a model that wants to end its turn in the midst of a JSON string ends the string.

    A weak one never writes the quote by itself: its turns end with `</s>` or a line break, which
    the grammar bans there, and it would go on until its tokens are used up.
    """

    quote_id: int
    letter_id: int
    turns_end: Mapping[int, int]

    @classmethod
    def of(cls, tokens: Sequence[bytes], eos_id: int) -> Self:
        ids = {data: token_id for token_id, data in enumerate(tokens) if data in b'"e\n'}
        quote_id, letter_id = ids.get(b'"', eos_id), ids.get(b"e", eos_id)
        ends = {eos_id, ids.get(b"\n", eos_id)}
        return cls(quote_id, letter_id, dict.fromkeys(ends, quote_id))

    def instead(self, bits: bytes) -> Mapping[int, int]:
        """No value begins with an `e`, so where it may stand beside a quote is within a string."""
        is_in_string = _has(bits, self.quote_id) and _has(bits, self.letter_id)
        return self.turns_end if is_in_string else _NOTHING


@dataclass(frozen=True)
class Words:
    """The vocabulary as llguidance asks for it. Ids past the tokenizer's own are never allowed.

    A text begins with the tokenizer's own `blank`, which the detokenizer takes away again.
    """

    tokens: list[bytes]
    special_token_ids: list[int]
    bos_token_id: int
    eos_token_id: int
    blank: str

    @classmethod
    def of(cls, tokenizer: Tokenizer, vocab_size: int) -> Self:
        tokens = [tokenizer.token_bytes(token_id) for token_id in range(vocab_size)]
        special = [i for i, data in enumerate(tokens) if not data and i < tokenizer.vocab_size]
        blank = " " if tokenizer.adds_blank else ""
        return cls(tokens, special, tokenizer.bos_id, tokenizer.eos_id, blank)

    @cached_property
    def string_end(self) -> _StringEnd:
        return _StringEnd.of(self.tokens, self.eos_token_id)

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
