"""The requests of /tokenize and /detokenize: vLLM's names."""

from typing import Annotated

from pydantic import Field

from pandagpt.api.schemas.chat import MAX_MESSAGES, ChatRequest, Message
from pandagpt.api.schemas.request import RequestModel


class TokenizeRequest(ChatRequest):
    """A chat request as it would be sent to the model, or a plain `prompt`.

    `add_special_tokens` is the prompt's: a conversation has those of its template.
    """

    messages: Annotated[list[Message], Field(max_length=MAX_MESSAGES, default_factory=list)]
    prompt: str | None = None
    add_special_tokens: bool = True
    add_generation_prompt: bool = True
    return_token_strs: bool = False


class DetokenizeRequest(RequestModel):
    model: str = ""
    tokens: list[Annotated[int, Field(ge=0)]]
