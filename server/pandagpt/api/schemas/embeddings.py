"""The request of /v1/embeddings: texts, contents of parts, or one conversation."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from pandagpt.api.schemas.chat import Content, Message
from pandagpt.api.schemas.parts import NonEmpty
from pandagpt.api.schemas.request import RequestModel

MAX_ITEMS = 256
MAX_MESSAGES = 256

INERT_FIELDS = frozenset({"user"})


class EmbeddingItem(RequestModel):
    content: Content


def _as_items(value: Any) -> Any:
    """A text, or a list of texts and contents; each becomes a content of parts."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        raise PydanticCustomError("input_type", "it should be a string or an array")
    return [_as_item(item) for item in value]


def _as_item(item: Any) -> Any:
    if isinstance(item, (int, list)) and not isinstance(item, bool):
        raise PydanticCustomError(
            "token_ids",
            "token ids are not read here, because texts have another tokenizer than the chat; "
            "send text (LangChain: check_embedding_ctx_length=False)",
        )
    if not isinstance(item, str):
        return item
    if not item:
        raise PydanticCustomError("empty_text", "a text must not be empty")
    return {"content": item}


NUM_ITEMS = Field(min_length=1, max_length=MAX_ITEMS)
Texts = NonEmpty | Annotated[list[NonEmpty | EmbeddingItem], NUM_ITEMS]


class EmbeddingsRequest(RequestModel):
    model: str = ""
    input: Annotated[
        Annotated[list[EmbeddingItem], NUM_ITEMS] | None,
        BeforeValidator(_as_items, json_schema_input_type=Texts | None),
    ] = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None

    # vLLM's names.
    use_activation: bool = True
    truncate_prompt_tokens: Annotated[int, Field(ge=-1, le=-1)] | None = None
