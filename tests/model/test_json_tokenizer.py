"""tokenizer.json of both families: the library's ids and texts, also token by token."""

import codecs
import json

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, processors

from pandagpt.errors import CheckpointError, InvalidValue
from pandagpt.model.json_tokenizer import JsonTokenizer
from pandagpt.model.tokenizer import UTF8_ERRORS
from tests.plain_llama import byte_level, pieces

BACKENDS = {"byte_level": byte_level(), "pieces": pieces()}
TEXTS = st.text().filter(lambda text: "▁" not in text)


def ours(backend: tokenizers.Tokenizer) -> JsonTokenizer:
    return JsonTokenizer(backend.to_str().encode(), "<s>", "</s>")


@pytest.fixture(scope="module", params=BACKENDS.values(), ids=list(BACKENDS))
def backend(request: pytest.FixtureRequest) -> tokenizers.Tokenizer:
    return request.param


@pytest.fixture(scope="module")
def tokenizer(backend: tokenizers.Tokenizer) -> JsonTokenizer:
    return ours(backend)


@settings(deadline=None)
@given(text=TEXTS)
def test_every_text_survives(
    tokenizer: JsonTokenizer, backend: tokenizers.Tokenizer, text: str
) -> None:
    ids = tokenizer.encode(text)
    assert ids == backend.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids) == text


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, 599)))
def test_streamed_equals_whole(tokenizer: JsonTokenizer, ids: list[int]) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")(UTF8_ERRORS)
    streamed = [decoder.decode(tokenizer.token_bytes(i)) for i in ids]
    text = "".join([*streamed, decoder.decode(b"", final=True)])
    assert (text.removeprefix(" ") if tokenizer.adds_blank else text) == tokenizer.decode(ids)


def test_special_tokens_are_text_unless_in_markup(tokenizer: JsonTokenizer) -> None:
    assert tokenizer.eos_id not in tokenizer.encode("a</s>b")
    assert tokenizer.decode(tokenizer.encode("a</s>b")) == "a</s>b"
    assert tokenizer.encode_markup("<s>a</s>")[0] == tokenizer.bos_id
    assert tokenizer.encode_markup("<s>a</s>")[-1] == tokenizer.eos_id
    assert tokenizer.decode([tokenizer.eos_id]) == ""
    assert tokenizer.decode([tokenizer.eos_id], skip_special=False) == "</s>"


def test_half_a_surrogate_pair_is_refused(tokenizer: JsonTokenizer) -> None:
    for encode in (tokenizer.encode, tokenizer.encode_markup):
        with pytest.raises(InvalidValue, match=r"U\+D83D"):
            encode("a\ud83d")


def test_unknown_decoder_is_refused_by_name(backend: tokenizers.Tokenizer) -> None:
    data = json.loads(backend.to_str())
    data["decoder"] = json.loads(decoders.WordPiece().__getstate__())
    with pytest.raises(CheckpointError, match="its decoder is WordPiece"):
        JsonTokenizer(json.dumps(data).encode(), 1, 2)


def test_unknown_end_is_refused_by_name(backend: tokenizers.Tokenizer) -> None:
    with pytest.raises(CheckpointError, match="<end>"):
        JsonTokenizer(backend.to_str().encode(), "<s>", "<end>")


def test_special_tokens_are_those_of_its_own_processor() -> None:
    backend = byte_level()
    assert ours(backend).encode_with_special("a") == ours(backend).encode("a")
    backend.post_processor = processors.TemplateProcessing("<s> $A", None, [("<s>", 1)])
    assert ours(backend).encode_with_special("a") == [1, *ours(backend).encode("a")]
    assert ours(backend).encode_with_special("<s>")[1:] == ours(backend).encode("<s>")
