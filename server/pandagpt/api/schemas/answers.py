"""The bodies of responses, as the OpenAPI document tells them.

Routes write plain dicts, since building models would cost every token; the tests hold what
they write against these, which allow no other field.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class AnswerModel(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ErrorDetails(AnswerModel):
    message: str
    type: Literal["invalid_request_error", "server_error", "rate_limit_error"]
    param: str | None
    code: str | None


class Error(AnswerModel):
    error: ErrorDetails


class TopLogprob(AnswerModel):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(AnswerModel):
    content: list[TokenLogprob]
    refusal: None


FinishReason = Literal["stop", "length", "tool_calls"]


class CalledFunction(AnswerModel):
    name: str
    arguments: str


class Call(AnswerModel):
    id: str
    type: Literal["function"]
    function: CalledFunction


class AnswerMessage(AnswerModel):
    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[Call] | None = None


class Choice(AnswerModel):
    index: int
    message: AnswerMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason


class PromptTokensDetails(AnswerModel):
    cached_tokens: int
    image_tokens: int
    audio_tokens: int
    multimodal_tokens: dict[str, int]


class CompletionUsage(AnswerModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class ChatCompletion(AnswerModel):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage
    system_fingerprint: None


class FunctionDelta(AnswerModel):
    name: str | None = None
    arguments: str


class CallDelta(AnswerModel):
    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionDelta


class ChoiceDelta(AnswerModel):
    role: Literal["assistant"] = "assistant"
    content: str | None = None
    tool_calls: list[CallDelta] | None = None


class ChunkChoice(AnswerModel):
    index: int
    delta: ChoiceDelta
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason | None


class ChatCompletionChunk(AnswerModel):
    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: CompletionUsage | None = None


class EmbeddingVector(AnswerModel):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(AnswerModel):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(AnswerModel):
    object: Literal["list"]
    data: list[EmbeddingVector]
    model: str
    usage: EmbeddingUsage


class ModelCard(AnswerModel):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    parent: str | None
    max_model_len: int
    modalities: list[str]
    dimensions: int | None = None


class ModelList(AnswerModel):
    object: Literal["list"]
    data: list[ModelCard]


class Health(AnswerModel):
    status: Literal["ok"]


class Readiness(AnswerModel):
    status: Literal["ready"]
    model: str


class Tokens(AnswerModel):
    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class Text(AnswerModel):
    prompt: str


class File(AnswerModel):
    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"]
    status_details: None


class FileList(AnswerModel):
    object: Literal["list"]
    data: list[File]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedFile(AnswerModel):
    id: str
    object: Literal["file"]
    deleted: Literal[True]
