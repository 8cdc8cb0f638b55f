"""Bytes of tokens, texts of ids, and models that are none."""

import codecs
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from pandagpt.errors import CheckpointError, InvalidValue
from pandagpt.model.tokenizer import UTF8_ERRORS, SentencePieceTokenizer, Tokenizer

CONTROL_IDS = (0, 1, 2)
BYTE_0 = 3  # LLaMA vocabularies: byte b stands at id 3 + b
# Tokens of one byte that begin, continue or break a character, among others at random.
BYTES = st.sampled_from([b + BYTE_0 for b in (0x41, 0x80, 0xBF, 0xC3, 0xE2, 0xED, 0xF0, 0x9F)])
IDS = st.lists(st.integers(BYTE_0, 2303) | BYTES)


@pytest.fixture(scope="module")
def model(golden: Path) -> bytes:
    return (golden / "splice" / "llama" / "tokenizer.model").read_bytes()


@pytest.fixture(scope="module")
def tokenizer(model: bytes) -> Tokenizer:
    return SentencePieceTokenizer(model)


@pytest.fixture(scope="module")
def oracle(model: bytes) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=model)


@settings(deadline=None)
@given(ids=IDS)
def test_decode_equals_sentencepiece(
    tokenizer: Tokenizer, oracle: sentencepiece.SentencePieceProcessor, ids: list[int]
) -> None:
    ids = [i % tokenizer.vocab_size for i in ids if i % tokenizer.vocab_size > max(CONTROL_IDS)]
    if ids[:1] == [BYTE_0 + 0x20]:  # SentencePiece takes its blank from pieces only, not bytes
        ids = ids[1:]
    assert tokenizer.decode(ids) == oracle.decode(ids)


@settings(deadline=None)
@given(text=st.text().filter(lambda text: "▁" not in text))
def test_every_text_survives(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, 2303) | BYTES))
def test_streamed_equals_whole(tokenizer: Tokenizer, ids: list[int]) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")(UTF8_ERRORS)
    streamed = [decoder.decode(tokenizer.token_bytes(i)) for i in ids]
    text = "".join([*streamed, decoder.decode(b"", final=True)])
    assert text.removeprefix(" ") == tokenizer.decode(ids)


def test_token_bytes(tokenizer: Tokenizer) -> None:
    assert [tokenizer.token_bytes(i) for i in CONTROL_IDS] == [b"", b"", b""]
    assert tokenizer.token_bytes(BYTE_0 + 0xC3) == b"\xc3"
    assert b"".join(map(tokenizer.token_bytes, tokenizer.encode("a é"))) == " a é".encode()


def test_ids_past_the_vocabulary_add_nothing(tokenizer: Tokenizer) -> None:
    """Vicuna v0 has one row more than its tokenizer: `[PAD]`."""
    assert tokenizer.token_bytes(tokenizer.vocab_size) == b""
    assert tokenizer.decode([tokenizer.vocab_size], skip_special=False) == ""


def test_special_tokens_are_shown_on_request(tokenizer: Tokenizer) -> None:
    ids = [tokenizer.bos_id, *tokenizer.encode("hello"), tokenizer.eos_id]
    assert tokenizer.decode(ids) == "hello"
    assert tokenizer.decode(ids, skip_special=False) == "<s> hello</s>"


@pytest.mark.parametrize("text", ["<s>", "</s>", "a </s> b", "<unk>", "<0x0A>"])
def test_control_text_stays_text(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert not set(CONTROL_IDS) & set(ids)
    assert tokenizer.decode(ids) == text


def test_half_a_surrogate_pair_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidValue, match="U\\+D83D at character 2"):
        tokenizer.encode("ab\ud83d")


@pytest.mark.parametrize("model", [b"", b"no model", b"\x00" * 64], ids=["empty", "text", "zeros"])
def test_bytes_that_are_no_model(model: bytes) -> None:
    with pytest.raises(CheckpointError, match="not a SentencePiece model"):
        SentencePieceTokenizer(model)


def test_a_truncated_model(model: bytes) -> None:
    with pytest.raises(CheckpointError):
        SentencePieceTokenizer(model[: len(model) // 2])
