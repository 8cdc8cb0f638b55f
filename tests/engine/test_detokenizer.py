"""Streamed text: whole characters only, and in sum what the tokenizer says of all tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandagpt.engine.detokenizer import Detokenizer
from pandagpt.model.tokenizer import Tokenizer


def stream(tokenizer: Tokenizer, ids: list[int], skip_special: bool = True) -> list[str]:
    detokenizer = Detokenizer(tokenizer, skip_special)
    return [*(detokenizer.feed(token_id) for token_id in ids), detokenizer.flush()]


@pytest.mark.parametrize(
    "text", ["A red fish.", " two  blanks", "Grüße, 世界 🐼!", "line\nline", "</s> as text", ""]
)
def test_gives_the_text_back(tokenizer: Tokenizer, text: str) -> None:
    assert "".join(stream(tokenizer, tokenizer.encode(text))) == text


def test_never_shows_half_a_character(tokenizer: Tokenizer) -> None:
    pieces = stream(tokenizer, tokenizer.encode("a🐼b"))
    assert "".join(pieces) == "a🐼b"
    assert not any("\ufffd" in piece for piece in pieces)
    assert "🐼" in pieces


def test_an_unfinished_character_becomes_marks(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("🐼")[:-1]
    assert "\ufffd" not in "".join(stream(tokenizer, ids)[:-1])
    assert "".join(stream(tokenizer, ids)) == tokenizer.decode(ids)


def test_special_tokens_are_hidden_unless_asked_for(tokenizer: Tokenizer) -> None:
    ids = [*tokenizer.encode("end"), tokenizer.eos_id]
    assert "".join(stream(tokenizer, ids)) == "end"
    assert "".join(stream(tokenizer, ids, skip_special=False)) == "end</s>"


@given(data=st.data(), skip_special=st.booleans())
def test_streamed_equals_whole(
    tokenizer: Tokenizer, data: st.DataObject, skip_special: bool
) -> None:
    """Any ids, however senseless: bytes in the middle of a word, control tokens, blanks."""
    few = st.integers(0, min(300, tokenizer.vocab_size - 1))
    ids = data.draw(st.lists(st.one_of(few, st.integers(0, tokenizer.vocab_size - 1)), max_size=20))
    pieces = stream(tokenizer, ids, skip_special)
    assert "".join(pieces) == tokenizer.decode(ids, skip_special=skip_special)
