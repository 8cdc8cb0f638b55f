import pytest

from pandagpt.api.raw_prompt import raw_prompt
from pandagpt.api.serving import ServedModel
from pandagpt.errors import InvalidValue


def test_texts_begin_unless_told_not_to(served_model: ServedModel) -> None:
    tokenizer = served_model.tokenizer
    ids = tokenizer.encode("A frog")
    prompt, text = raw_prompt("A frog", served_model, begins=True)
    assert (prompt.token_ids, text) == ((tokenizer.bos_id, *ids), "A frog")
    prompt, _ = raw_prompt("A frog", served_model, begins=False)
    assert prompt.token_ids == tuple(ids)


def test_ids_are_used_as_they_are(served_model: ServedModel) -> None:
    ids = served_model.tokenizer.encode("A frog")
    prompt, text = raw_prompt(ids, served_model, begins=True)
    assert (prompt.token_ids, text) == (tuple(ids), "A frog")


@pytest.mark.parametrize("given", ["", [5, 999_999]])
def test_no_prompt_at_all(served_model: ServedModel, given: str | list[int]) -> None:
    with pytest.raises(InvalidValue):
        raw_prompt(given, served_model, begins=False)
