"""Input items as they are kept and listed: with an id, their parts under OpenAI's names."""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from pandagpt.api.responses.store import StoredItem, StoredResponse
from pandagpt.api.schemas.parts import TextPart
from pandagpt.api.schemas.responses import (
    FunctionCallItem,
    FunctionCallOutputItem,
    Item,
    MessageItem,
    Part,
)

InputItem = MessageItem | FunctionCallItem | FunctionCallOutputItem
_ITEMS: TypeAdapter[list[InputItem]] = TypeAdapter(list[Item])


def stored_item(item: InputItem) -> StoredItem:
    item_id = item.id or new_id(_PREFIXES[item.type])
    data = {"id": item_id, "type": item.type, "status": "completed", **_fields(item)}
    return StoredItem(item_id, to_json(data))


def read_turn(turn: StoredResponse) -> list[InputItem]:
    """What was asked, then what was answered."""
    asked = [from_json(item.data) for item in turn.input]
    return _ITEMS.validate_python(asked + from_json(turn.response)["output"])


def new_id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"


_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco"}


def _fields(item: InputItem) -> dict[str, Any]:
    match item:
        case MessageItem():
            return {"role": item.role, "content": _parts(item.content, item.role == "assistant")}
        case FunctionCallItem():
            return {"call_id": item.call_id, "name": item.name, "arguments": item.arguments}
        case FunctionCallOutputItem():
            return {"call_id": item.call_id, "output": _parts(item.output)}


def _parts(parts: Sequence[Part], is_answer: bool = False) -> list[dict[str, Any]]:
    return list(_written(parts, is_answer))


def _written(parts: Iterable[Part], is_answer: bool) -> Iterable[dict[str, Any]]:
    for part in parts:
        if not isinstance(part, TextPart):
            yield part.model_dump(exclude_none=True)
        elif is_answer:
            yield {"type": "output_text", "text": part.text, "annotations": [], "logprobs": []}
        else:
            yield {"type": "input_text", "text": part.text}
