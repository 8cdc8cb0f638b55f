"""A grammar that brings its compiler down costs its request, and nothing else."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from pandagpt.engine import grammar_checker
from pandagpt.engine.grammar import json_rule
from pandagpt.engine.grammar_checker import GrammarChecker
from pandagpt.engine.request import Grammar
from pandagpt.errors import InvalidSchema
from pandagpt.model.tokenizer import Tokenizer

GOOD = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
# The library negates it, which has no end: its process runs out of stack.
DEADLY = {"enum": [-(2**63)]}


@pytest.fixture(scope="module")
def checker() -> Iterator[GrammarChecker]:
    checker = GrammarChecker()
    yield checker
    checker.close()


def check(checker: GrammarChecker, tokenizer: Tokenizer, schema: dict[str, Any]) -> None:
    checker.check(Grammar(f"answer: {json_rule(schema)}"), tokenizer, tokenizer.vocab_size)


def pid_of(checker: GrammarChecker) -> int:
    assert checker._process
    return checker._process._popen.pid


def test_what_can_be_kept_to_passes(checker: GrammarChecker, tokenizer: Tokenizer) -> None:
    check(checker, tokenizer, GOOD)
    pid = pid_of(checker)
    check(checker, tokenizer, GOOD)
    assert pid_of(checker) == pid


def test_what_cannot_be_is_refused_with_its_reason(
    checker: GrammarChecker, tokenizer: Tokenizer
) -> None:
    with pytest.raises(InvalidSchema, match="strin"):
        check(checker, tokenizer, {"type": "strin"})


def test_what_ends_its_compiler_is_refused(checker: GrammarChecker, tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidSchema, match="cannot be compiled"):
        check(checker, tokenizer, DEADLY)
    check(checker, tokenizer, GOOD)


def test_a_process_that_others_kill_costs_nothing(
    checker: GrammarChecker, tokenizer: Tokenizer
) -> None:
    check(checker, tokenizer, GOOD)
    os.kill(pid_of(checker), signal.SIGKILL)
    check(checker, tokenizer, GOOD)


def test_what_takes_too_long_is_refused(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grammar_checker, "MAX_SECONDS", 0.2)
    monkeypatch.setattr(grammar_checker, "END_SECONDS", 0.05)
    slow = GrammarChecker()
    slow._started(tokenizer, tokenizer.vocab_size)
    os.kill(pid_of(slow), signal.SIGSTOP)
    with pytest.raises(InvalidSchema, match="cannot be compiled"):
        check(slow, tokenizer, GOOD)
    slow.close()
