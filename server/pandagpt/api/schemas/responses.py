"""The request of /v1/responses: what is honoured, inert, or refused by name."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pandagpt.api.schemas.chat import MAX_MESSAGES, MAX_PARTS
from pandagpt.api.schemas.long_text import LongText
from pandagpt.api.schemas.parts import (
    AudioUrlPart,
    DepthPart,
    FilePart,
    ImagePart,
    ImuUrlPart,
    InputAudioPart,
    InputImuPart,
    NonEmpty,
    RefusalPart,
    TextPart,
    ThermalPart,
    VideoPart,
    check_one_source,
)
from pandagpt.api.schemas.request import UNSUPPORTED, RequestModel, refused
from pandagpt.api.schemas.response_format import Name
from pandagpt.api.schemas.sampling import NumTokens, SamplingFields, TopLogprobs
from pandagpt.api.schemas.tools import MAX_TOOLS, FunctionType

INERT_FIELDS = frozenset({"service_tier", "prompt_cache_retention", "prompt_cache_options"})
"""OpenAI fields that cannot change an answer here: taken from any client, with no effect."""


class InputImagePart(RequestModel):
    type: Literal["input_image"]
    image_url: NonEmpty | LongText | None = None
    file_id: NonEmpty | None = None
    detail: Literal["auto", "low", "high", "original"] = "auto"

    @model_validator(mode="after")
    def _exactly_one(self) -> "InputImagePart":
        check_one_source(self, "image_url", "file_id")
        return self


class InputFilePart(RequestModel):
    """`modality` is this server's, as in the `file` part of a chat. None: by content."""

    type: Literal["input_file"]
    file_data: NonEmpty | LongText | None = None
    file_id: NonEmpty | None = None
    file_url: NonEmpty | LongText | None = None
    filename: str | None = None
    detail: Literal["auto", "low", "high"] | None = None
    modality: Literal["image", "video", "audio", "depth", "thermal", "imu"] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "InputFilePart":
        check_one_source(self, "file_data", "file_id", "file_url")
        return self


Part = Annotated[
    TextPart
    | InputImagePart
    | InputFilePart
    | InputAudioPart
    | ImagePart
    | VideoPart
    | AudioUrlPart
    | ThermalPart
    | DepthPart
    | ImuUrlPart
    | InputImuPart
    | FilePart
    | RefusalPart,
    Field(discriminator="type"),
]


def _as_parts(value: Any) -> Any:
    if isinstance(value, str):
        return [{"type": "input_text", "text": value}]
    if not isinstance(value, list):
        raise PydanticCustomError("content_type", "must be a string or an array of content parts")
    return value


Parts = Annotated[list[Part], Field(min_length=1, max_length=MAX_PARTS)]
Content = Annotated[Parts, BeforeValidator(_as_parts, json_schema_input_type=str | Parts)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class MessageItem(RequestModel):
    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: Content
    id: Label | None = None


class FunctionCallItem(RequestModel):
    type: Literal["function_call"]
    call_id: Label
    name: Name
    arguments: str
    id: Label | None = None


class FunctionCallOutputItem(RequestModel):
    type: Literal["function_call_output"]
    call_id: Label
    output: Content
    id: Label | None = None


class ItemReference(RequestModel):
    """An item that this server has given or taken before, and has kept."""

    type: Literal["item_reference"] = "item_reference"
    id: Label


InputItem = MessageItem | FunctionCallItem | FunctionCallOutputItem


def _typed(value: Any) -> Any:
    """OpenAI's short forms of a message and of a reference have no type."""
    if not isinstance(value, dict) or value.get("type") is not None:
        return value
    if "role" in value:
        return {**value, "type": "message"}
    return {**value, "type": "item_reference"} if "id" in value else value


Item = Annotated[
    Annotated[InputItem | ItemReference, Field(discriminator="type")],
    BeforeValidator(_typed, json_schema_input_type=InputItem | ItemReference),
]


def _as_items(value: Any) -> Any:
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": value}]
    if not isinstance(value, list):
        raise PydanticCustomError("input_type", "must be a string or an array of items")
    return value


_Many = Annotated[list[Item], Field(min_length=1, max_length=MAX_MESSAGES)]
Items = Annotated[_Many, BeforeValidator(_as_items, json_schema_input_type=str | _Many)]


class FunctionTool(RequestModel):
    type: FunctionType
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionChoice(RequestModel):
    type: FunctionType
    name: Name


class AllowedTools(RequestModel):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[FunctionChoice], Field(min_length=1, max_length=MAX_TOOLS)]


def _kind_of_choice(value: Any) -> str:
    if isinstance(value, str):
        return "mode"
    is_list = isinstance(value, AllowedTools) or (
        isinstance(value, dict) and value.get("type") == "allowed_tools"
    )
    return "allowed_tools" if is_list else "function"


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("mode")]
    | Annotated[FunctionChoice, Tag("function")]
    | Annotated[AllowedTools, Tag("allowed_tools")],
    Discriminator(_kind_of_choice),
]


class TextFormat(RequestModel):
    type: Literal["text", "json_object", "json_schema"] = "text"
    name: Name | None = None
    json_schema: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    description: str | None = None
    strict: bool | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> "TextFormat":
        if self.type == "json_schema" and (self.name is None or self.json_schema is None):
            message = "the type 'json_schema' needs 'name' and 'schema'"
            raise PydanticCustomError("no_schema", message)
        return self


class TextConfig(RequestModel):
    """`verbosity` has no effect."""

    format: TextFormat = TextFormat()
    verbosity: Literal["low", "medium", "high"] | None = None


class Reasoning(RequestModel):
    """This model does not reason apart from its answer: no effect."""

    effort: Label | None = None
    summary: Label | None = None


class ResponseStreamOptions(RequestModel):
    """No event is padded, asked for or not: what sniffs packets sees TLS records anyway."""

    include_obfuscation: bool = True


Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    Field(max_length=16),
]
LOGPROBS = "message.output_text.logprobs"
# The others are of items that never come from this server, or are given anyway.
Includable = Literal[
    "message.output_text.logprobs",
    "message.input_image.image_url",
    "reasoning.encrypted_content",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
]


def _needs_stream(value: Any, info: ValidationInfo) -> Any:
    if not info.data.get("stream", True):
        raise PydanticCustomError("no_stream", "it needs 'stream' to be true")
    return value


def _not_cut(value: str) -> str:
    if value == "auto":
        message = "This server never drops parts of a conversation. Use 'disabled', or send less."
        raise PydanticCustomError(UNSUPPORTED, message)
    return value


_NOT_HERE = "This field is not supported by this server. Leave it out."
_SEND_ALL = (
    "This field is not supported by this server. Use 'previous_response_id', or send 'input'."
)
_USE_TEXT = "This field is not supported by /v1/responses. Use 'text.format' instead."
_USE_LIMIT = "This field is not supported by /v1/responses. Use 'max_output_tokens' instead."


class ResponseRequest(SamplingFields):
    input: Items
    model: str = ""
    instructions: str | None = None
    previous_response_id: Label | None = None
    store: bool = True
    fusion: Literal["sum", "interleave"] | None = None
    stream: bool = False
    stream_options: Annotated[ResponseStreamOptions | None, AfterValidator(_needs_stream)] = None
    max_output_tokens: NumTokens | None = None
    text: TextConfig = TextConfig()
    tools: Annotated[list[FunctionTool], Field(default_factory=list, max_length=MAX_TOOLS)]
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool | None = None
    include: Annotated[list[Includable], Field(default_factory=list, max_length=16)]
    top_logprobs: TopLogprobs | None = None
    truncation: Annotated[Literal["auto", "disabled"], AfterValidator(_not_cut)] = "disabled"

    # Said again in the response, with no other effect.
    metadata: Annotated[Metadata, Field(default_factory=dict)]
    reasoning: Reasoning | None = None
    max_tool_calls: Annotated[int, Field(ge=1)] | None = None
    user: Label | None = None
    safety_identifier: Label | None = None
    prompt_cache_key: Label | None = None

    background: Annotated[Any, refused("This server answers at once. Leave it out.")] = None
    background_options: Annotated[Any, refused(_NOT_HERE)] = None
    conversation: Annotated[Any, refused(_SEND_ALL)] = None
    prompt: Annotated[Any, refused(_SEND_ALL)] = None
    messages: Annotated[Any, refused(_SEND_ALL)] = None
    context_management: Annotated[Any, refused(_NOT_HERE)] = None
    moderation: Annotated[Any, refused(_NOT_HERE)] = None
    image: Annotated[Any, refused("This model answers in text only. Leave it out.")] = None
    modalities: Annotated[Any, refused("This model answers in text only. Leave it out.")] = None
    access_programs: Annotated[Any, refused(_NOT_HERE)] = None
    n: Annotated[Any, refused("/v1/responses gives one answer. Leave 'n' out.")] = None
    max_tokens: Annotated[Any, refused(_USE_LIMIT)] = None
    max_completion_tokens: Annotated[Any, refused(_USE_LIMIT)] = None
    response_format: Annotated[Any, refused(_USE_TEXT)] = None
    structured_outputs: Annotated[Any, refused(_USE_TEXT)] = None
    guided_json: Annotated[Any, refused(_USE_TEXT)] = None
    guided_regex: Annotated[Any, refused(_USE_TEXT)] = None
    guided_choice: Annotated[Any, refused(_USE_TEXT)] = None
    guided_grammar: Annotated[Any, refused(_USE_TEXT)] = None

    @property
    def has_logprobs(self) -> bool:
        return LOGPROBS in self.include or bool(self.top_logprobs)

    @property
    def allowed_tools(self) -> Sequence[FunctionTool]:
        if not isinstance(self.tool_choice, AllowedTools):
            return self.tools
        names = {tool.name for tool in self.tool_choice.tools}
        return [tool for tool in self.tools if tool.name in names]
