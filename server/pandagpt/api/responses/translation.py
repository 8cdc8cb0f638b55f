"""A request of /v1/responses to the chat request that asks the same, and errors back.

Errors name the fields of a chat; `Translation.placed` names those that the client has sent.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pandagpt.api.schemas.chat import ChatRequest
from pandagpt.api.schemas.parts import FilePart, ImagePart
from pandagpt.api.schemas.request import validated
from pandagpt.api.schemas.responses import (
    AllowedTools,
    FunctionCallItem,
    FunctionCallOutputItem,
    FunctionChoice,
    FunctionTool,
    InputFilePart,
    InputImagePart,
    InputItem,
    Part,
    ResponseRequest,
)
from pandagpt.api.schemas.sampling import SamplingFields
from pandagpt.errors import InvalidValue, RequestError

_FIELDS = {
    "messages": "input",
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
    "response_format.json_schema.schema": "text.format.schema",
}
_TOOL = re.compile(r"(tools\[\d+\]|tool_choice)\.function")


@dataclass(slots=True)
class Translation:
    """`places`: where something of the chat stands in the request, the most exact ones first."""

    asked: ResponseRequest
    items: Sequence[InputItem]
    """Of its input, with what references mean."""
    history: Sequence[InputItem] = ()
    places: dict[str, str] = field(default_factory=dict)
    _messages: list[dict[str, Any]] = field(default_factory=list)
    _call_ids: set[str] = field(default_factory=set)

    def chat(self) -> ChatRequest:
        """Raises RequestError, already placed."""
        asked = self.asked
        if asked.instructions:
            self._add({"role": "system", "content": asked.instructions}, "instructions")
        for item in self.history:
            self._add_item(item, "")
        for index, item in enumerate(self.items):
            self._add_item(item, f"input[{index}]")
        fields = {name: getattr(asked, name) for name in SamplingFields.model_fields}
        try:
            return validated(ChatRequest, fields | self._chat_fields())
        except RequestError as error:
            raise self.placed(error) from None

    def placed(self, error: RequestError) -> RequestError:
        return error.at(self._place(error.param)) if error.param else error

    def _place(self, param: str) -> str:
        if place := _FIELDS.get(param):
            return place
        for known, place in self.places.items():
            if param.startswith(known):
                return place + param[len(known) :] if place else "previous_response_id"
        return _TOOL.sub(r"\1", param)

    def _chat_fields(self) -> dict[str, Any]:
        asked = self.asked
        return {
            "model": asked.model,
            "messages": self._messages,
            "fusion": asked.fusion,
            "max_completion_tokens": asked.max_output_tokens,
            "logprobs": asked.has_logprobs,
            "top_logprobs": asked.top_logprobs if asked.has_logprobs else None,
            "response_format": _response_format(asked),
            "tools": [_tool(tool) for tool in asked.allowed_tools],
            "tool_choice": _tool_choice(asked),
            "parallel_tool_calls": asked.parallel_tool_calls,
        }

    def _add(self, message: dict[str, Any], place: str) -> None:
        self.places[f"messages[{len(self._messages)}]"] = place
        self._messages.append(message)

    def _add_item(self, item: InputItem, place: str) -> None:
        """No `place`: it is of an earlier turn."""
        match item:
            case FunctionCallItem():
                self._add_call(item, place)
            case FunctionCallOutputItem():
                if item.call_id not in self._call_ids:
                    message = f"No function call has the id '{item.call_id[:64]}'."
                    raise InvalidValue(message, f"{place}.call_id")
                content = self._content(item.output, place, "output")
                message = {"role": "tool", "tool_call_id": item.call_id, "content": content}
                self._add(message, place)
            case _:
                content = self._content(item.content, place, "content")
                self._add({"role": item.role, "content": content}, place)

    def _add_call(self, item: FunctionCallItem, place: str) -> None:
        """Calls in a row are one message, as the model wrote them."""
        if not self._messages or self._messages[-1]["role"] != "assistant":
            self._add({"role": "assistant", "content": None}, place)
        function = {"name": item.name, "arguments": item.arguments}
        call = {"id": item.call_id, "type": "function", "function": function}
        self._messages[-1].setdefault("tool_calls", []).append(call)
        self._call_ids.add(item.call_id)

    def _content(self, parts: Sequence[Part], place: str, name: str) -> list[Any]:
        message = f"messages[{len(self._messages)}].content"
        content: list[Any] = []
        for index, part in enumerate(parts):
            here, there = f"{message}[{index}]", f"{place}.{name}[{index}]" if place else ""
            content.append(self._part(part, here, there))
            self.places[here] = there
        return content

    def _part(self, part: Part, here: str, there: str) -> Any:
        match part:
            case InputImagePart(image_url=url, file_id=file_id, detail=detail):
                self._name_sources(f"{here}.image_url", there, "image_url")
                source = {"url": url, "file_id": file_id, "detail": detail}
                return ImagePart.model_validate({"type": "image_url", "image_url": source})
            case InputFilePart():
                given = "file_url" if part.file_url else "file_data"
                self._name_sources(f"{here}.file", there, given)
                source = part.model_dump(include={"file_id", "filename", "modality"})
                source["file_data"] = part.file_data or part.file_url
                return FilePart.model_validate({"type": "file", "file": source})
        return part

    def _name_sources(self, here: str, there: str, source: str) -> None:
        self.places[f"{here}.file_id"] = there and f"{there}.file_id"
        self.places[here] = there and f"{there}.{source}"


def _response_format(asked: ResponseRequest) -> dict[str, Any]:
    given = asked.text.format
    if given.type != "json_schema":
        return {"type": given.type}
    schema = {"name": given.name, "schema": given.json_schema, "description": given.description}
    return {"type": given.type, "json_schema": schema}


def _tool(tool: FunctionTool) -> dict[str, Any]:
    return {"type": "function", "function": tool.model_dump(exclude={"type"})}


def _tool_choice(asked: ResponseRequest) -> Any:
    match asked.tool_choice:
        case FunctionChoice(name=name):
            return {"type": "function", "function": {"name": name}}
        case AllowedTools(mode=mode):
            return mode
    return asked.tool_choice
