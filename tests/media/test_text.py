"""Text tokens: cleaning, limits, both vocabularies. Exact ids are in parity/test_text."""

import pytest

from pandagpt.errors import ContextLengthExceeded
from pandagpt.media.text import CLIP_END_ID, CLIP_START_ID, TextTokenizer, clean, clip_pieces


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("  Two\t\twords\n", "two words"),
        ("salt &amp;amp; pepper", "salt & pepper"),
        ("cafÃ©", "café"),
        ("", ""),
    ],
)
def test_cleaning(raw: str, cleaned: str) -> None:
    assert clean(raw) == cleaned


def test_every_byte_has_a_piece() -> None:
    """No text can fall out of a byte-level vocabulary."""
    text = "".join(map(chr, range(33, 0x250))) + "漢字🐼"
    assert all(0 <= piece < CLIP_START_ID for piece in clip_pieces(text))
    assert clip_pieces("🐼") != clip_pieces("🐨")


def test_control_text_stays_text() -> None:
    assert CLIP_END_ID not in clip_pieces("a dog<|endoftext|>a cat<|startoftext|>")


def test_numbers_are_split_into_digits() -> None:
    assert clip_pieces("2024") == [*clip_pieces("2"), *clip_pieces("0"), *clip_pieces("24")]


def test_row_is_start_pieces_end_and_zeros() -> None:
    row = TextTokenizer.clip().encode("a dog")
    assert row.shape == (77,)
    assert row[:4].tolist() == [CLIP_START_ID, *clip_pieces("a dog"), CLIP_END_ID]
    assert not row[4:].any()


@pytest.mark.parametrize("num_words", [75, 76, 500])
def test_too_long_a_text(num_words: int) -> None:
    tokenizer = TextTokenizer.clip()
    text = "dog " * num_words
    assert len(tokenizer.ids(text)) == num_words + 2
    row = tokenizer.encode(text)
    assert row.shape == (77,)
    assert row[-1] == CLIP_END_ID
    assert (tokenizer.encode(text, "lose_end")[-1] == CLIP_END_ID) == (num_words == 75)


def test_too_long_a_text_can_be_refused() -> None:
    tokenizer = TextTokenizer.clip()
    assert tokenizer.encode("dog " * 75, "refuse")[-1] == CLIP_END_ID
    with pytest.raises(ContextLengthExceeded, match="78 tokens long, the text encoder reads 77"):
        tokenizer.encode("dog " * 76, "refuse")


def test_sentencepiece_rows_end_with_the_largest_id() -> None:
    tokenizer = TextTokenizer.sentencepiece(lambda text: [len(word) for word in text.split()], 1000)
    row = tokenizer.encode("three little words")
    assert row[:5].tolist() == [5, 6, 5, 1000, 0]
    assert row.argmax() == 3
