"""An answer's text and its end, token by token."""

import pytest

from pandagpt.engine.answer import Answer
from pandagpt.engine.request import Delta, SamplingParams
from pandagpt.model.tokenizer import Tokenizer


def run(tokenizer: Tokenizer, ids: list[int], params: SamplingParams) -> list[Delta]:
    answer = Answer(0, params, tokenizer, params.max_tokens)
    deltas = []
    for token_id in ids:
        deltas.append(answer.append(token_id))
        if deltas[-1].finish_reason is not None:
            break
    return deltas


def text(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def test_ends_at_the_end_token(tokenizer: Tokenizer) -> None:
    ids = [*tokenizer.encode("Yes."), tokenizer.eos_id, *tokenizer.encode("more")]
    deltas = run(tokenizer, ids, SamplingParams(100))
    assert text(deltas) == "Yes."
    assert deltas[-1].finish_reason == "stop"
    assert deltas[-1].token_ids == (tokenizer.eos_id,)
    assert all(delta.finish_reason is None for delta in deltas[:-1])


def test_ignore_eos_goes_on_past_every_end_of_the_format(tokenizer: Tokenizer) -> None:
    ids = [*tokenizer.encode("Yes."), tokenizer.eos_id, *tokenizer.encode("\n### Human")]
    deltas = run(tokenizer, ids, SamplingParams(len(ids), ignore_eos=True))
    assert len(deltas) == len(ids)
    assert deltas[-1].finish_reason == "length"
    assert "###" in text(deltas)


def test_ends_at_the_length_with_all_its_text(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("one two three four five six")
    deltas = run(tokenizer, ids, SamplingParams(4, stop=("never",)))
    assert len(deltas) == 4
    assert deltas[-1].finish_reason == "length"
    assert text(deltas) == tokenizer.decode(ids[:4])


def test_the_formats_own_stop_is_hidden(tokenizer: Tokenizer) -> None:
    wishes = SamplingParams(100, include_stop_str_in_output=True)
    deltas = run(tokenizer, tokenizer.encode("Yes.\n### Human: and"), wishes)
    assert text(deltas) == "Yes."
    assert deltas[-1].finish_reason == "stop"


def test_a_heading_is_no_stop(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("## Title\nText")
    assert text(run(tokenizer, [*ids, tokenizer.eos_id], SamplingParams(100))) == "## Title\nText"


@pytest.mark.parametrize(("include", "shown"), [(False, "one "), (True, "one two")])
def test_the_callers_stop(tokenizer: Tokenizer, include: bool, shown: str) -> None:
    wishes = SamplingParams(100, stop=("two",), include_stop_str_in_output=include)
    deltas = run(tokenizer, tokenizer.encode("one two three"), wishes)
    assert text(deltas) == shown
    assert deltas[-1].finish_reason == "stop"


@pytest.mark.parametrize(("include", "shown"), [(False, "one"), (True, "one two")])
def test_a_stop_token(tokenizer: Tokenizer, include: bool, shown: str) -> None:
    one, two = tokenizer.encode("one"), tokenizer.encode("two")
    wishes = SamplingParams(100, stop_token_ids=(two[-1],), include_stop_str_in_output=include)
    deltas = run(tokenizer, [*one, *two, *one], wishes)
    assert text(deltas) == (shown if include else tokenizer.decode([*one, *two[:-1]]))
    assert deltas[-1].finish_reason == "stop"


def test_no_stop_string_before_min_tokens(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("two and two")
    num_first = len(tokenizer.encode("two"))
    wishes = SamplingParams(100, stop=("two",), min_tokens=num_first)
    assert text(run(tokenizer, ids, wishes)) == "two and "


def test_held_back_text_comes_with_the_end(tokenizer: Tokenizer) -> None:
    ids = [*tokenizer.encode("one tw"), tokenizer.eos_id]
    deltas = run(tokenizer, ids, SamplingParams(100, stop=("two",)))
    assert text(deltas) == "one tw"
