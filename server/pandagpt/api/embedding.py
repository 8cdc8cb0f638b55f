"""An embeddings request to items of media and texts, and the engine's rows to one vector an item.

Plain numpy: the vectors are few, and the HTTP process knows no torch.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pandagpt.api.conversation import Conversation, MediaSource, read_messages
from pandagpt.api.schemas.chat import Message
from pandagpt.api.schemas.embeddings import EmbeddingsRequest
from pandagpt.errors import InvalidValue, MissingParameter
from pandagpt.model.prompt import MediaRef

INPUT = "input"


@dataclass(frozen=True, slots=True)
class TextSource:
    param: str
    text: str


Source = MediaSource | TextSource
Item = tuple[Source, ...]
"""What one vector stands for."""


def read_items(request: EmbeddingsRequest, max_media: int) -> list[Item]:
    """Raises MissingParameter, InvalidValue and what `read_messages` raises."""
    if request.input is None and request.messages is None:
        raise MissingParameter("Missing required parameter: 'input'.", INPUT)
    if request.input is not None and request.messages is not None:
        raise InvalidValue("Give either 'input' or 'messages', not both.", "messages")
    if request.messages is not None:
        return [_sources(read_messages(request.messages, max_media), "messages")]
    items = []
    for index, item in enumerate(request.input or ()):
        message = Message(role="user", content=item.content, tool_calls=[])
        param = f"{INPUT}[{index}]"
        items.append(_sources(read_messages([message], max_media), param))
    return items


def _sources(conversation: Conversation, param: str) -> Item:
    parts = [part for turn in conversation.turns for part in turn.parts]
    return tuple(
        _placed(conversation.media[part.index], param)
        if isinstance(part, MediaRef)
        else TextSource(param, part)
        for part in parts
    )


def _placed(source: MediaSource, param: str) -> MediaSource:
    """The conversation of an item is made up: its only message stands at the item."""
    if not param.startswith(INPUT):
        return source
    return replace(source, param=source.param.replace("messages[0]", param, 1))


def vectors(rows_NE: np.ndarray, items: Sequence[Item], *, is_unit: bool) -> list[np.ndarray]:
    """One [E] an item: the mean of its parts' directions, made a unit vector again.

    Not `is_unit`: the mean of the rows as they are, each in its modality's own scale.
    """
    if is_unit:
        rows_NE = _normalized(rows_NE)
    ends = np.cumsum([len(item) for item in items])[:-1]
    means = [part.mean(axis=0, keepdims=True) for part in np.split(rows_NE, ends)]
    return [(_normalized(mean) if is_unit else mean)[0] for mean in means]


def _normalized(rows_NE: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows_NE, axis=1, keepdims=True)
    return rows_NE / np.maximum(norms, np.finfo(np.float32).tiny)


def encoded(vector: np.ndarray, encoding_format: str) -> Any:
    """base64 is of little-endian float32, as the SDKs read it."""
    if encoding_format == "float":
        return vector.tolist()
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
