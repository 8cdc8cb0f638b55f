"""Grammars: which tokens may come next, so that an answer's text is what was asked for.

Rules go in, a matcher of tokens comes out; llguidance does the work. It was measured beside
xgrammar with this package's tokenizers (BENCHMARKS.md): its masks cost less in a vocabulary
of 32,000, and it needs no torch, which the HTTP process, where schemas are checked, has not.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

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
    """The body of a rule: JSON without whitespace that the schema holds for."""
    return f"%json {json.dumps({**schema, 'x-guidance': _COMPACT})}"


def literal_rule(text: str) -> str:
    return json.dumps(text)


class Matcher:
    """Where one text stands in its grammar."""

    def __init__(self, matcher: LLMatcher, vocab_size: int) -> None:
        """Raises InvalidSchema, as all of it does: the library's limits are met at any token."""
        self._matcher = matcher
        self._vocab_size = vocab_size
        self._check()

    def copy(self) -> Self:
        return type(self)(self._matcher.deep_copy(), self._vocab_size)

    def allowed(self) -> np.ndarray:
        """The tokens that may come next, as booleans [V]."""
        words = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        return np.unpackbits(words, count=self._vocab_size, bitorder="little").view(np.bool_)

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
        self._vocabulary = LLTokenizer(TokenizerWrapper(_Words(tokenizer, vocab_size)))

    def compile(self, grammar: Grammar) -> Matcher:
        """Raises InvalidSchema."""
        rules = f'{_OPTIONS}start: "{self._blank}" answer\n{grammar.rules}'
        matcher = LLMatcher(self._vocabulary, rules, log_level=0, limits=_LIMITS)
        return Matcher(matcher, self._vocabulary.vocab_size)

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


class _Words:
    """The vocabulary as llguidance asks for it. Ids past the tokenizer's own are never allowed."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        ids = range(vocab_size)
        self.bos_token_id = tokenizer.bos_id
        self.eos_token_id = tokenizer.eos_id
        self.tokens = [tokenizer.token_bytes(token_id) for token_id in ids]
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
