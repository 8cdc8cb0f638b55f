"""What goes into the engine and what comes out of it: plain values, no torch, no HTTP.

Everything here is packed into bytes and sent between two processes: see `messages`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from pandagpt.errors import ContextLengthExceeded, PandaError
from pandagpt.media.modality import Modality
from pandagpt.model.prompt import STOP, Prompt

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class MediaInput:
    """One preprocessed medium. `digest` identifies bytes, kind, options and preprocessing."""

    modality: Modality
    array: np.ndarray
    digest: str


@dataclass(frozen=True, slots=True)
class Grammar:
    """What an answer's text must be: rules of llguidance's Lark, of which `answer` is the first."""

    rules: str


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """Ranges are checked at the edge; here every value is already usable. `top_k` 0 is off.

    `turn_stop` ends an answer at the start of a line and is never shown; empty: off. A
    `grammar` decides where an answer may end, whatever `min_tokens` and `ignore_eos` say.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    turn_stop: str = STOP
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    logprobs: int | None = None
    """None: no logprobs. k: the chosen token's, and those of the k likeliest."""
    grammar: Grammar | None = None


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """`prompt` refers to `media` by index. `n` choices share one prefill of the media.

    `model` is one of those that share the weights; empty: the one that is merged into them.
    """

    request_id: str
    prompt: Prompt
    media: tuple[MediaInput, ...]
    params: SamplingParams
    n: int = 1
    cache_salt: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """`media` may be texts too: the ids that ImageBind's text encoder reads."""

    request_id: str
    media: tuple[MediaInput, ...]
    cache_salt: str = ""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """[media, dimensions] float32 as bytes, in ImageBind's own scale."""

    dimensions: int
    data: bytes

    @property
    def array(self) -> np.ndarray:
        return np.frombuffer(self.data, np.float32).reshape(-1, self.dimensions)


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    token_id: int
    text: str
    data: bytes
    logprob: float
    top: tuple["TokenLogprob", ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """New text of choice `index`; the last one of a choice carries `finish_reason`."""

    index: int
    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0


Event = tuple[str, Delta | Embeddings | PandaError]
"""Of which request, and what: an error is its last event."""


def check_length(prompt: Prompt, max_model_len: int) -> None:
    """At least one token must fit behind the prompt."""
    if len(prompt) >= max_model_len:
        raise ContextLengthExceeded.of_messages(len(prompt), max_model_len)
