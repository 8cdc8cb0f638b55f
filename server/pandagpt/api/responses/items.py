"""Input items as they are kept, weighed and listed: with ids, parts under OpenAI's names."""

import uuid
from collections.abc import Iterator, Sequence
from sys import getsizeof
from typing import Annotated, Any

from pydantic import Field, TypeAdapter
from pydantic_core import to_json

from pandagpt.api.responses.store import StoredItem
from pandagpt.api.schemas.parts import TextPart
from pandagpt.api.schemas.responses import (
    FunctionCallItem,
    FunctionCallOutputItem,
    InputItem,
    MessageItem,
    Part,
)

# What an object of a part or an item takes beside its text, roughly.
OBJECT_BYTES = 1024
_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco"}
_ITEM: TypeAdapter[InputItem] = TypeAdapter(Annotated[InputItem, Field(discriminator="type")])
_OUTPUT: TypeAdapter[list[MessageItem | FunctionCallItem]] = TypeAdapter(
    list[MessageItem | FunctionCallItem]
)


def new_id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"


def weighed(items: Sequence[InputItem | StoredItem]) -> tuple[StoredItem, ...]:
    """What is stored already stays as it is."""
    return tuple(item if isinstance(item, StoredItem) else _weighed(item) for item in items)


def read_output(output: Sequence[dict[str, Any]]) -> tuple[StoredItem, ...]:
    """What was answered, as it may be sent again."""
    return weighed(_OUTPUT.validate_python(output))


def _weighed(item: InputItem) -> StoredItem:
    """Its texts are copied: views of the request's body would keep all of that."""
    data = item.model_dump(exclude_none=True)
    data.setdefault("id", new_id(_PREFIXES[item.type]))
    num_bytes = OBJECT_BYTES * (1 + len(_parts_of(item))) + sum(map(getsizeof, _texts(data)))
    return StoredItem(_ITEM.validate_python(data), num_bytes)


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict | list):
        for child in node.values() if isinstance(node, dict) else node:
            yield from _texts(child)


def listed(item: InputItem) -> bytes:
    """JSON."""
    base = {"id": item.id, "type": item.type, "status": "completed"}
    return to_json(base | _fields(item))


def _parts_of(item: InputItem) -> Sequence[Part]:
    match item:
        case MessageItem():
            return item.content
        case FunctionCallOutputItem():
            return item.output
    return ()


def _fields(item: InputItem) -> dict[str, Any]:
    match item:
        case MessageItem():
            parts = _written(item.content, is_answer=item.role == "assistant")
            return {"role": item.role, "content": list(parts)}
        case FunctionCallItem():
            return {"call_id": item.call_id, "name": item.name, "arguments": item.arguments}
        case FunctionCallOutputItem():
            return {"call_id": item.call_id, "output": list(_written(item.output))}


def _written(parts: Sequence[Part], *, is_answer: bool = False) -> Iterator[dict[str, Any]]:
    for part in parts:
        if not isinstance(part, TextPart):
            yield part.model_dump(exclude_none=True)
        elif is_answer:
            yield {"type": "output_text", "text": part.text, "annotations": [], "logprobs": []}
        else:
            yield {"type": "input_text", "text": part.text}
