"""The request of /v1/completions: what is honoured, inert, or refused by name."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, ValidationInfo
from pydantic_core import PydanticCustomError

from pandagpt.api.schemas.chat import OptionsOfStream
from pandagpt.api.schemas.request import UNSUPPORTED, refused
from pandagpt.api.schemas.sampling import NumChoices, NumTokens, SamplingFields

MAX_CHOICES = 128
DEFAULT_MAX_TOKENS = 16
"""OpenAI's, of this path alone."""

INERT_FIELDS = frozenset({"user", "metadata", "service_tier"})
"""Fields that cannot change an answer here: taken from any client, with no effect."""


def _as_prompts(value: Any) -> Any:
    """One text, or one prompt's token ids, to a list of one."""
    is_one = isinstance(value, str) or (isinstance(value, list) and _is_number(value[:1]))
    return [value] if is_one else value


def _is_number(items: list[Any]) -> bool:
    return bool(items) and isinstance(items[0], int | float)


TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
TextOrTokens = Annotated[
    Annotated[str, Tag("text")] | Annotated[TokenIds, Tag("tokens")],
    Discriminator(lambda value: "tokens" if isinstance(value, list) else "text"),
]
_Many = Annotated[list[TextOrTokens], Field(min_length=1, max_length=MAX_CHOICES)]
Prompts = Annotated[
    _Many, BeforeValidator(_as_prompts, json_schema_input_type=str | TokenIds | _Many)
]


def _few_choices(n: int, info: ValidationInfo) -> int:
    if n * len(info.data.get("prompt", ())) > MAX_CHOICES:
        raise PydanticCustomError(
            "choices",
            "'n' times the number of prompts may be at most {most}",
            {"most": MAX_CHOICES},
        )
    return n


def _no_ranking(best_of: int, info: ValidationInfo) -> int:
    if best_of != info.data.get("n", best_of):
        message = "This server ranks no answers. Leave 'best_of' out, or ask for as many by 'n'."
        raise PydanticCustomError(UNSUPPORTED, message)
    return best_of


def _no_prompt_logprobs(logprobs: int, info: ValidationInfo) -> int:
    if info.data.get("echo"):
        message = "'logprobs' are not given for an echoed prompt. Ask for one of the two."
        raise PydanticCustomError(UNSUPPORTED, message)
    return logprobs


_NOT_HERE = "This field is not supported by this server. Leave it out."
_CHAT_ONLY = "This field is only supported by /v1/chat/completions, as 'response_format'."


class CompletionRequest(SamplingFields):
    """`prompt`: each one is a text, or token ids that are used as they are."""

    prompt: Prompts
    model: str = ""
    echo: bool = False
    stream: bool = False
    stream_options: OptionsOfStream = None
    n: Annotated[NumChoices, AfterValidator(_few_choices)] = 1
    max_tokens: NumTokens = DEFAULT_MAX_TOKENS
    logprobs: Annotated[int, Field(ge=0, le=5), AfterValidator(_no_prompt_logprobs)] | None = None
    add_special_tokens: bool = True
    """vLLM's: whether a text begins with the token of a beginning."""

    best_of: Annotated[int, AfterValidator(_no_ranking)] | None = None
    suffix: Annotated[Any, refused("This model cannot fill in. Leave 'suffix' out.")] = None
    response_format: Annotated[Any, refused(_CHAT_ONLY)] = None
    structured_outputs: Annotated[Any, refused(_CHAT_ONLY)] = None
    guided_json: Annotated[Any, refused(_CHAT_ONLY)] = None
    guided_regex: Annotated[Any, refused(_CHAT_ONLY)] = None
    guided_choice: Annotated[Any, refused(_CHAT_ONLY)] = None
    guided_grammar: Annotated[Any, refused(_CHAT_ONLY)] = None
    use_beam_search: Annotated[Any, refused(_NOT_HERE)] = None
    prompt_logprobs: Annotated[Any, refused(_NOT_HERE)] = None
    prompt_embeds: Annotated[Any, refused(_NOT_HERE)] = None
    bad_words: Annotated[Any, refused(_NOT_HERE)] = None
    allowed_token_ids: Annotated[Any, refused(_NOT_HERE)] = None
    truncate_prompt_tokens: Annotated[Any, refused(_NOT_HERE)] = None

    @property
    def requested_tokens(self) -> int:
        return self.max_tokens

    @property
    def tokens_field(self) -> str:
        return "max_tokens"

    @property
    def num_logprobs(self) -> int | None:
        """None: no logprobs are wanted."""
        return self.logprobs
