"""The request of /v1/chat/completions: what is honoured, inert, or refused by name.

Fields outside this file are ignored, as OpenAI-compatible servers do. Ranges that need the
model (token ids, context length) are checked in sampling.py.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationInfo
from pydantic_core import PydanticCustomError

from pandagpt.api.schemas.parts import ContentPart
from pandagpt.api.schemas.request import UNSUPPORTED, RequestModel, refused
from pandagpt.api.schemas.response_format import ResponseFormat
from pandagpt.api.schemas.tools import NamedTool, ToolChoice, Tools, find_tool

MAX_MESSAGES = 2048
MAX_PARTS = 2048
MAX_TOOL_CALLS = 128
MAX_BIASES = 2**16
INT64 = 2**63

INERT_FIELDS = frozenset(
    {
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning_effort",
        "verbosity",
        "prediction",
    }
)
"""OpenAI fields that cannot change an answer here: taken from any client, with no effect."""


def _within(least: float, most: float) -> Any:
    return Field(ge=least, le=most, allow_inf_nan=False)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


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


def _token_bias(value: Any) -> Any:
    if isinstance(value, dict):
        for key in value:
            if not re.fullmatch(r"[0-9]{1,9}", key, re.ASCII):
                raise PydanticCustomError("token_key", "keys must be token ids")
    return value


_USE_TOOLS = "This field is not supported by this server. Use 'tools' and 'tool_choice' instead."
_USE_FORMAT = "This field is not supported by this server. Use 'response_format' instead."
_NOT_HERE = "This field is not supported by this server. Leave it out."


Stops = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=256)]], Field(max_length=4)
]
Biases = Annotated[dict[str, Annotated[float, _within(-100, 100)]], Field(max_length=MAX_BIASES)]


class ChatRequest(RequestModel):
    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    model: str = ""
    fusion: Literal["sum", "interleave"] | None = None

    stream: bool = False
    stream_options: Annotated[StreamOptions | None, AfterValidator(_needs_stream)] = None

    n: Annotated[int, Field(ge=1, le=128)] = 1
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, _within(0, 2)] = 1.0
    top_p: Annotated[float, _within(0, 1)] = 1.0
    presence_penalty: Annotated[float, _within(-2, 2)] = 0.0
    frequency_penalty: Annotated[float, _within(-2, 2)] = 0.0
    seed: Annotated[int, Field(ge=-INT64, lt=INT64)] | None = None
    stop: Annotated[
        Stops,
        BeforeValidator(_as_list, json_schema_input_type=str | Stops),
        Field(default_factory=list),
    ]
    logit_bias: Annotated[Biases, BeforeValidator(_token_bias), Field(default_factory=dict)]
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    # vLLM's names for what OpenAI has no field for.
    top_k: Annotated[int, Field(ge=-1)] = 0
    min_p: Annotated[float, _within(0, 1)] = 0.0
    repetition_penalty: Annotated[float, _within(0.01, 100)] = 1.0
    ignore_eos: bool = False
    min_tokens: Annotated[int, Field(ge=0)] = 0
    stop_token_ids: Annotated[
        list[Annotated[int, Field(ge=0)]], Field(max_length=128, default_factory=list)
    ]
    skip_special_tokens: bool = True
    include_stop_str_in_output: bool = False

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
