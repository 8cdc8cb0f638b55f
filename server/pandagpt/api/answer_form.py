"""What a request says of its answer's form, as one grammar: `response_format` and tools."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pandagpt.api.schema_cost import check_cost
from pandagpt.api.schemas.chat import ChatRequest
from pandagpt.api.tools import NO_CALL_RULE, Toolbox
from pandagpt.engine.grammar import json_rule
from pandagpt.engine.request import Grammar
from pandagpt.errors import InvalidSchema

ANY_OBJECT: dict[str, Any] = {"type": "object"}


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """`is_free`: it may be plain text, which the prompt's own stop ends. `schemas` are those in
    the grammar, each with its place in the request.
    """

    grammar: Grammar | None = None
    is_free: bool = True
    schemas: tuple[tuple[str, dict[str, Any]], ...] = ()

    @classmethod
    def of(cls, chat: ChatRequest) -> "AnswerForm":
        """Raises InvalidSchema."""
        schemas = tuple(_schemas(chat))
        check_cost(schemas)
        toolbox, schema = Toolbox.of(chat), _schema(chat)
        if toolbox is not None:
            return replace(_with_calls(toolbox, schema), schemas=schemas)
        if schema is not None:
            return cls(Grammar(f"answer: {json_rule(schema)}"), is_free=False, schemas=schemas)
        return cls()

    def check(self, check: Callable[[Grammar], None]) -> None:
        """`check` raises InvalidSchema and may take a while; here it is raised with its place."""
        if self.grammar is None:
            return
        try:
            check(self.grammar)
        except InvalidSchema:
            for param, schema in self.schemas:
                try:
                    check(Grammar(f"answer: {json_rule(schema)}"))
                except InvalidSchema as error:
                    raise error.at(param) from None
            raise


RAW = AnswerForm(is_free=False)
"""What follows a raw prompt: no form, and no turn that the prompt's stop would end."""


def _with_calls(toolbox: Toolbox, schema: dict[str, Any] | None) -> AnswerForm:
    calls = "\n".join(toolbox.rules())
    if toolbox.must_call:
        return AnswerForm(Grammar(f"answer: calls\n{calls}"), is_free=False)
    if schema is None:
        return AnswerForm(Grammar(f"answer: calls | TEXT?\n{calls}\nTEXT: {NO_CALL_RULE}"))
    if schema.get("type") != "object":
        # Told apart from calls by its first character.
        message = "Beside 'tools', the schema of 'response_format' must be of the type 'object'."
        raise InvalidSchema(message, "response_format")
    rules = f"answer: calls | value\n{calls}\nvalue: {json_rule(schema)}"
    return AnswerForm(Grammar(rules), is_free=False)


def _schema(chat: ChatRequest) -> dict[str, Any] | None:
    given = chat.response_format
    if given is None or given.type == "text":
        return None
    if given.json_schema is None or given.json_schema.json_schema is None:
        return ANY_OBJECT
    return given.json_schema.json_schema


def _schemas(chat: ChatRequest) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of the request, and where it stands."""
    if (schema := _schema(chat)) is not None:
        yield "response_format.json_schema.schema", schema
    for index, tool in enumerate(chat.tools):
        if tool.function.parameters is not None:
            yield f"tools[{index}].function.parameters", tool.function.parameters
