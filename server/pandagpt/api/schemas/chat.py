"""The request of /v1/chat/completions: what is honoured, inert, or refused by name.

Fields outside this file are ignored, as OpenAI-compatible servers do. Ranges that need the
model (token ids, context length) are checked in sampling.py.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from pandagpt.api.schemas.parts import ContentPart
from pandagpt.api.schemas.request import UNSUPPORTED, RequestModel, refused
from pandagpt.api.schemas.response_format import ResponseFormat
from pandagpt.api.schemas.sampling import NumChoices, NumTokens, SamplingFields, TopLogprobs
from pandagpt.api.schemas.tools import NamedTool, ToolChoice, Tools, find_tool

MAX_MESSAGES = 2048
MAX_PARTS = 2048
MAX_TOOL_CALLS = 128

INERT_FIELDS = frozenset(
    {
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "prompt_cache_options",
        "reasoning_effort",
        "verbosity",
        "prediction",
    }
)
"""OpenAI fields that cannot change an answer here: taken from any client, with no effect."""


def _as_parts(value: Any) -> Any:
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    if not isinstance(value, list):
        raise PydanticCustomError("content_type", "must be a string or an array of content parts")
    return value


# Lengths are bound to the list itself, inside: so a long list is refused at its first item
# too many, and not after an error has been written for each.
Parts = Annotated[list[ContentPart], Field(min_length=1, max_length=MAX_PARTS)]
Content = Annotated[Parts, BeforeValidator(_as_parts, json_schema_input_type=str | Parts)]


class FunctionCall(RequestModel):
    name: str
    arguments: str


class ToolCall(RequestModel):
    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(RequestModel):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Content | None = None
    name: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(default_factory=list, max_length=MAX_TOOL_CALLS)]
    tool_call_id: str | None = None


class StreamOptions(RequestModel):
    include_usage: bool = False
    continuous_usage_stats: bool = False


def _needs_stream(value: Any, info: ValidationInfo) -> Any:
    if not info.data.get("stream", True):
        raise PydanticCustomError("no_stream", "it needs 'stream' to be true")
    return value


OptionsOfStream = Annotated[StreamOptions | None, AfterValidator(_needs_stream)]


def _needs_logprobs(value: Any, info: ValidationInfo) -> Any:
    if not info.data.get("logprobs", True):
        raise PydanticCustomError("no_logprobs", "it needs 'logprobs' to be true")
    return value


def _text_only(value: Any) -> Any:
    if value != ["text"]:
        raise PydanticCustomError(UNSUPPORTED, "'modalities': this model answers in text only.")
    return value


def _of_these_tools(choice: ToolChoice, info: ValidationInfo) -> ToolChoice:
    tools = info.data.get("tools", ())
    if isinstance(choice, NamedTool):
        find_tool(tools, choice.function.name)
    elif choice == "required" and not tools:
        raise PydanticCustomError("no_tools", "'required' needs 'tools'")
    return choice


_USE_TOOLS = "This field is not supported by this server. Use 'tools' and 'tool_choice' instead."
_USE_FORMAT = "This field is not supported by this server. Use 'response_format' instead."
_NOT_HERE = "This field is not supported by this server. Leave it out."


class ChatRequest(SamplingFields):
    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    model: str = ""
    fusion: Literal["sum", "interleave"] | None = None

    stream: bool = False
    stream_options: OptionsOfStream = None
    n: NumChoices = 1
    max_tokens: NumTokens | None = None
    max_completion_tokens: NumTokens | None = None
    logprobs: bool = False
    top_logprobs: Annotated[TopLogprobs | None, AfterValidator(_needs_logprobs)] = None

    modalities: Annotated[list[str] | None, BeforeValidator(_text_only)] = None
    response_format: ResponseFormat | None = None
    tools: Annotated[Tools, Field(default_factory=list)]
    tool_choice: Annotated[ToolChoice, AfterValidator(_of_these_tools)] = "auto"
    parallel_tool_calls: bool = False
    functions: Annotated[Any, refused(_USE_TOOLS)] = None
    function_call: Annotated[Any, refused(_USE_TOOLS)] = None
    structured_outputs: Annotated[Any, refused(_USE_FORMAT)] = None
    guided_json: Annotated[Any, refused(_USE_FORMAT)] = None
    guided_regex: Annotated[Any, refused(_USE_FORMAT)] = None
    guided_choice: Annotated[Any, refused(_USE_FORMAT)] = None
    guided_grammar: Annotated[Any, refused(_USE_FORMAT)] = None
    audio: Annotated[Any, refused("This model answers in text only. Leave 'audio' out.")] = None
    moderation: Annotated[Any, refused(_NOT_HERE)] = None
    web_search_options: Annotated[Any, refused("This server does not search the web.")] = None
    echo: Annotated[Any, refused(_NOT_HERE)] = None
    use_beam_search: Annotated[Any, refused(_NOT_HERE)] = None
    best_of: Annotated[Any, refused(_NOT_HERE)] = None
    bad_words: Annotated[Any, refused(_NOT_HERE)] = None
    allowed_token_ids: Annotated[Any, refused(_NOT_HERE)] = None
    prompt_logprobs: Annotated[Any, refused(_NOT_HERE)] = None
    continue_final_message: Annotated[Any, refused(_NOT_HERE)] = None
    chat_template: Annotated[Any, refused(_NOT_HERE)] = None

    @property
    def requested_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def tokens_field(self) -> str:
        return "max_completion_tokens" if self.max_completion_tokens else "max_tokens"

    @property
    def num_logprobs(self) -> int | None:
        """None: no logprobs are wanted."""
        return self.top_logprobs or 0 if self.logprobs else None
