"""Ids and texts against the reference's tokenizer (golden `splice/tokenizer_cases.json`)."""

import json
from pathlib import Path
from typing import Any

import pytest

from pandagpt.model.tokenizer import SentencePieceTokenizer, Tokenizer

# Our decision: typed by a user, these stay text; the reference makes control tokens of them.
CONTROL_TEXTS = ("<s>", "</s>", "<unk>")


@pytest.fixture(scope="module")
def tokenizer(golden: Path) -> Tokenizer:
    return SentencePieceTokenizer((golden / "splice" / "llama" / "tokenizer.model").read_bytes())


@pytest.fixture(scope="module")
def cases(golden: Path) -> list[dict[str, Any]]:
    return json.loads((golden / "splice" / "tokenizer_cases.json").read_text())


def test_ids_equal_the_reference(tokenizer: Tokenizer, cases: list[dict[str, Any]]) -> None:
    plain = [case for case in cases if not any(text in case["text"] for text in CONTROL_TEXTS)]
    assert plain
    assert [tokenizer.encode(c["text"]) for c in plain] == [c["ids"] for c in plain]


def test_texts_equal_the_reference(tokenizer: Tokenizer, cases: list[dict[str, Any]]) -> None:
    want = [case["decoded_skip_special"] for case in cases]
    assert [tokenizer.decode(case["ids"]) for case in cases] == want


def test_control_texts_stay_text(tokenizer: Tokenizer, cases: list[dict[str, Any]]) -> None:
    """The one documented difference: no special id comes out, and the text survives."""
    special = {tokenizer.bos_id, tokenizer.eos_id}
    for case in cases:
        ids = tokenizer.encode(case["text"])
        assert not special & set(ids)
        assert tokenizer.decode(ids) == case["text"]


def test_answers_equal_the_reference(tokenizer: Tokenizer, golden: Path) -> None:
    meta = json.loads((golden / "splice" / "splice_meta.json").read_text())
    for name, case in meta["cases"].items():
        assert tokenizer.decode(case["trimmed_tokens"]) == case["reference_text"], name
