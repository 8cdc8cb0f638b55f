"""From a request to the grammar of its answer, and the place of what cannot be one."""

from typing import Any

import pytest

from pandagpt.api.answer_form import AnswerForm
from pandagpt.api.schemas.chat import ChatRequest
from pandagpt.engine.grammar import compiler_of
from pandagpt.errors import InvalidSchema
from pandagpt.model.tokenizer import Tokenizer

BAD = {"type": "strin"}


def chat(**fields: Any) -> ChatRequest:
    messages = [{"role": "user", "content": "?"}]
    return ChatRequest.model_validate({"messages": messages, **fields})


def tool(name: str, parameters: Any = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def fmt(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}


def holds(tokenizer: Tokenizer, text: str, **fields: Any) -> bool:
    """Whether `text` is a whole answer."""
    form = AnswerForm.of(chat(**fields))
    assert form.grammar is not None
    matcher = compiler_of(tokenizer, tokenizer.vocab_size).compile(form.grammar)
    for token_id in tokenizer.encode(text):
        if not matcher.allowed().mask_V[token_id]:
            return False
        matcher.accept(token_id)
    return matcher.is_complete or bool(matcher.allowed().mask_V[tokenizer.eos_id])


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"response_format": {"type": "text"}},
        {"tools": [tool("f")], "tool_choice": "none"},
        {"tools": [], "tool_choice": "auto"},
    ],
)
def test_free_answers_have_no_grammar(fields: dict[str, Any]) -> None:
    assert AnswerForm.of(chat(**fields)) == AnswerForm(None, is_free=True)


@pytest.mark.parametrize(
    ("fields", "good", "bad"),
    [
        ({"response_format": {"type": "json_object"}}, '{"a":[1,null]}', "[1]"),
        ({"response_format": {"type": "json_object"}}, "{}", "{ }"),
        ({"response_format": fmt({"enum": [1, 2]})}, "2", "3"),
        (
            {"tools": [tool("f"), tool("g")], "tool_choice": "required"},
            '[{"name":"g","arguments":{}}]',
            "Hello",
        ),
        (
            {"tools": [tool("f")], "tool_choice": "required"},
            '[{"name":"f","arguments":{}}]',
            '[{"name":"f","arguments":{}},{"name":"f","arguments":{}}]',
        ),
        (
            {"tools": [tool("f")], "tool_choice": "required", "parallel_tool_calls": True},
            '[{"name":"f","arguments":{}},{"name":"f","arguments":{}}]',
            "[]",
        ),
        (
            {"tools": [tool("f"), tool("g")], "tool_choice": tool("g")},
            '[{"name":"g","arguments":{}}]',
            '[{"name":"f","arguments":{}}]',
        ),
        ({"tools": [tool("f")]}, "Hello [{", '[{"name":"g"'),
        ({"tools": [tool("f")]}, '[{"name":"f","arguments":{}}]', '[{"name":"f","arguments":1}]'),
        (
            {"tools": [tool("f")], "response_format": {"type": "json_object"}},
            '{"a":1}',
            "Hello",
        ),
    ],
)
def test_what_an_answer_may_be(
    tokenizer: Tokenizer, fields: dict[str, Any], good: str, bad: str
) -> None:
    assert holds(tokenizer, good, **fields)
    assert not holds(tokenizer, bad, **fields)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": fmt(BAD)}, "response_format.json_schema.schema"),
        (
            {"tools": [tool("f"), tool("g", {"properties": {"a": BAD}})]},
            "tools[1].function.parameters",
        ),
        ({"tools": [tool("f")], "response_format": fmt({"enum": [1]})}, "response_format"),
        ({"response_format": fmt({"const": "x" * 2**16})}, "response_format.json_schema.schema"),
    ],
)
def test_what_cannot_be_kept_to_is_placed(
    tokenizer: Tokenizer, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidSchema) as error:
        AnswerForm.of(chat(**fields)).check(compiler_of(tokenizer, tokenizer.vocab_size).check)
    assert error.value.param == param


def test_what_can_be_kept_to_passes(tokenizer: Tokenizer) -> None:
    check = compiler_of(tokenizer, tokenizer.vocab_size).check
    AnswerForm.of(chat(tools=[tool("f")])).check(check)
    AnswerForm.of(chat()).check(check)
