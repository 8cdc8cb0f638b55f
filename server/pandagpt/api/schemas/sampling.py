"""How tokens are chosen and where an answer stops: the fields that every kind of request shares."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from pandagpt.api.schemas.request import RequestModel

MAX_BIASES = 2**16
INT64 = 2**63


def within(least: float, most: float) -> Any:
    return Field(ge=least, le=most, allow_inf_nan=False)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _token_bias(value: Any) -> Any:
    if isinstance(value, dict):
        for key in value:
            if not re.fullmatch(r"[0-9]{1,9}", key, re.ASCII):
                raise PydanticCustomError("token_key", "keys must be token ids")
    return value


Stops = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=256)]], Field(max_length=4)
]
Biases = Annotated[dict[str, Annotated[float, within(-100, 100)]], Field(max_length=MAX_BIASES)]
TopLogprobs = Annotated[int, Field(ge=0, le=20)]
NumChoices = Annotated[int, Field(ge=1, le=128)]
NumTokens = Annotated[int, Field(ge=1)]


class SamplingFields(RequestModel):
    temperature: Annotated[float, within(0, 2)] = 1.0
    top_p: Annotated[float, within(0, 1)] = 1.0
    presence_penalty: Annotated[float, within(-2, 2)] = 0.0
    frequency_penalty: Annotated[float, within(-2, 2)] = 0.0
    seed: Annotated[int, Field(ge=-INT64, lt=INT64)] | None = None
    stop: Annotated[
        Stops,
        BeforeValidator(_as_list, json_schema_input_type=str | Stops),
        Field(default_factory=list),
    ]
    logit_bias: Annotated[Biases, BeforeValidator(_token_bias), Field(default_factory=dict)]

    # vLLM's names for what OpenAI has no field for.
    top_k: Annotated[int, Field(ge=-1)] = 0
    min_p: Annotated[float, within(0, 1)] = 0.0
    repetition_penalty: Annotated[float, within(0.01, 100)] = 1.0
    ignore_eos: bool = False
    min_tokens: Annotated[int, Field(ge=0)] = 0
    stop_token_ids: Annotated[
        list[Annotated[int, Field(ge=0)]], Field(max_length=128, default_factory=list)
    ]
    skip_special_tokens: bool = True
    include_stop_str_in_output: bool = False
