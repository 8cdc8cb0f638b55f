"""Function tools as text: how the model is told of them, and how it writes its calls.

    [{"name":"weather","arguments":{"city":"Rome"}},{"name":"time","arguments":{}}]

This form is known here alone: the prompt shows it, the grammar enforces it, the conversation
repeats it, and `CallReader` reads it.
"""

import json
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pandagpt.api.schemas.chat import ChatRequest, ToolCall
from pandagpt.api.schemas.tools import Function, NamedTool, find_tool
from pandagpt.api.signature import signature
from pandagpt.engine.grammar import json_rule, literal_rule

MAX_CALLS = 4
"""With `parallel_tool_calls`. A weak model rarely closes a list on its own, so there is a limit,
and without the field one call is all."""
NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

_OPENING = '[{"name":'
_INSTRUCTION = 'To call them, write only [{"name":...,"arguments":{...}}]'


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The functions that an answer may call, or must."""

    functions: tuple[Function, ...]
    must_call: bool
    max_calls: int
    is_named: bool

    @classmethod
    def of(cls, chat: ChatRequest) -> "Toolbox | None":
        """None: no function may be called."""
        choice = chat.tool_choice
        if not chat.tools or choice == "none":
            return None
        is_named = isinstance(choice, NamedTool)
        tools = [find_tool(chat.tools, choice.function.name)] if is_named else chat.tools
        return cls(
            tuple(tool.function for tool in tools),
            must_call=choice != "auto",
            max_calls=MAX_CALLS if chat.parallel_tool_calls and not is_named else 1,
            is_named=is_named,
        )

    @property
    def _finish_reason(self) -> str:
        """OpenAI's: a call that was asked for by name is no decision of the model."""
        return "stop" if self.is_named else "tool_calls"

    @property
    def instruction(self) -> str:
        return "\n".join(["Functions:", *map(_told, self.functions), _INSTRUCTION])

    def rules(self) -> Iterator[str]:
        """`calls` and what it is made of."""
        first = " | ".join(f"first_{i}" for i in range(len(self.functions)))
        later = " | ".join(f"later_{i}" for i in range(len(self.functions)))
        more = f' ("," ({later})){{0,{self.max_calls - 1}}}' if self.max_calls > 1 else ""
        yield f'calls: ({first}){more} "]"'
        for i, function in enumerate(self.functions):
            # One literal as far as the arguments: what begins like it is then known as a call.
            head = _head(function.name)
            yield f"first_{i}: {literal_rule('[' + head)} arguments_{i} " + '"}"'
            if more:
                yield f"later_{i}: {literal_rule(head)} arguments_{i} " + '"}"'
            yield f"arguments_{i}: {json_rule(_parameters(function))}"

    def reader(self) -> "CallReader":
        names = [function.name for function in self.functions]
        return CallReader(names, self._finish_reason, self.must_call)


NO_CALL_RULE = rf"/(?s:.+)/ & ~/(?s:{re.escape(_OPENING)}.*)/"
"""Of a terminal: any text that does not begin as calls do."""


def calls_text(calls: Sequence[ToolCall]) -> str:
    """Calls of an earlier answer, as the model wrote them."""
    functions = [call.function for call in calls]
    return "[" + ",".join(f"{_head(f.name)}{f.arguments or '{}'}}}" for f in functions) + "]"


def _told(function: Function) -> str:
    about = f": {function.description}" if function.description else ""
    return signature(function.name, _parameters(function)) + about


def _parameters(function: Function) -> dict[str, Any]:
    """OpenAI's rule: arguments are an object; without `parameters` it is empty."""
    if function.parameters is None:
        return NO_PARAMETERS
    return {"type": "object", **function.parameters}


def _head(name: str) -> str:
    return f'{{"name":{_encode(name)},"arguments":'


@dataclass(frozen=True, slots=True)
class CallPiece:
    """More of call `index`: with its id and name where it begins, then its arguments."""

    index: int
    arguments: str
    id: str = ""
    name: str = ""


Piece = str | CallPiece


class CallReader:
    """Text in, as it comes; content and pieces of calls out. What is no call stays content."""

    def __init__(
        self, names: Sequence[str], call_reason: str = "tool_calls", must_call: bool = False
    ) -> None:
        """`call_reason` is the finish reason of an answer that ends after its calls."""
        self._heads = {"[" + _head(name): name for name in names}
        self._next_heads = {"}," + _head(name): name for name in names}
        self._call_reason = call_reason
        self._must_call = must_call
        self._num_calls = 0
        self._held = ""
        self._arguments = _ObjectEnd()
        self._step: Callable[[], Piece | None] = self._begin

    @property
    def finish_reason(self) -> str:
        return self._call_reason if self._num_calls else "stop"

    def feed(self, text: str) -> list[Piece]:
        self._held += text
        pieces: list[Piece] = []
        while (piece := self._step()) is not None:
            pieces.append(piece)
        return pieces

    def flush(self) -> list[Piece]:
        """What was held back because it could have become a call, unless it was one, cut short."""
        is_content = self._step == self._begin and not self._must_call
        return [self._held] if is_content and self._held else []

    def _begin(self) -> Piece | None:
        if (call := self._call(self._heads)) is not None:
            return call
        if any(head.startswith(self._held) for head in self._heads):
            return None
        self._step = self._read_content
        return self._read_content()

    def _read_content(self) -> Piece | None:
        text, self._held = self._held, ""
        return text or None

    def _read_arguments(self) -> Piece | None:
        end = self._arguments.find(self._held)
        text, self._held = self._held[:end], self._held[end:]
        if self._arguments.is_found:
            self._step = self._read_between
        return CallPiece(self._num_calls - 1, text) if text else None

    def _read_between(self) -> Piece | None:
        return self._call(self._next_heads)

    def _call(self, heads: dict[str, str]) -> CallPiece | None:
        head = next((head for head in heads if self._held.startswith(head)), None)
        if head is None:
            return None
        self._held = self._held[len(head) :]
        self._arguments = _ObjectEnd()
        self._step = self._read_arguments
        self._num_calls += 1
        return CallPiece(self._num_calls - 1, "", f"call_{secrets.token_hex(12)}", heads[head])


class _ObjectEnd:
    """Where a JSON object ends that comes in pieces."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._is_escaped = False
        self.is_found = False

    def find(self, text: str) -> int:
        """Behind the closing bracket, or behind all of `text`."""
        for position, character in enumerate(text):
            self._read(character)
            if self.is_found:
                return position + 1
        return len(text)

    def _read(self, character: str) -> None:
        if self._is_escaped:
            self._is_escaped = False
        elif self._in_string:
            self._is_escaped = character == "\\"
            self._in_string = character != '"'
        elif character == '"':
            self._in_string = True
        elif character in "{[":
            self._depth += 1
        elif character in "}]":
            self._depth -= 1
            self.is_found = self._depth == 0
