"""One request inside the engine: its choices, each with its text, and what it still waits for."""

import random
import secrets
from dataclasses import dataclass, field, replace
from time import perf_counter

from torch import Tensor

from pandagpt.engine import faults
from pandagpt.engine.answer import Answer
from pandagpt.engine.encoder import MediaKey
from pandagpt.engine.grammar import Matcher
from pandagpt.engine.prefix_cache import Trail
from pandagpt.engine.request import (
    Delta,
    EmbedRequest,
    GenerateRequest,
    TokenLogprob,
    check_length,
)
from pandagpt.engine.sequence import Sequence
from pandagpt.model.tokenizer import Tokenizer


@dataclass(slots=True, eq=False)
class Choice:
    """`random` belongs to this choice alone: its text depends on no other request."""

    sequence: Sequence
    answer: Answer
    random: random.Random
    is_begun: bool = False
    num_put_back: int = 0
    matcher: Matcher | None = None

    def append(self, token_id: int, logprob: TokenLogprob | None) -> Delta:
        faults.strike("text")
        delta = self.answer.append(token_id, logprob, self._completes(token_id))
        if len(self.sequence.token_ids) == 1 and self.sequence.num_cached:
            delta = replace(delta, cached_tokens=self.sequence.num_cached)
        return delta

    def _completes(self, token_id: int) -> bool:
        if self.matcher is None:
            return False
        self.matcher.accept(token_id)
        return self.matcher.is_complete


@dataclass(slots=True, eq=False)
class Job:
    """Until its last choice has ended; without choices its media are all it wants."""

    request: GenerateRequest | EmbedRequest
    keys: list[MediaKey]
    choices: list[Choice]
    rows: dict[MediaKey, Tensor] = field(default_factory=dict)
    is_compiling: bool = False
    added_at: float = field(default_factory=perf_counter)
    num_open: int = field(init=False)

    def __post_init__(self) -> None:
        self.num_open = len(self.choices)

    @property
    def is_ready(self) -> bool:
        return len(self.rows) == len(set(self.keys)) and not self.is_compiling


def new_job(
    request: GenerateRequest | EmbedRequest, tokenizer: Tokenizer, max_model_len: int
) -> Job:
    keys = [(request.cache_salt, medium.digest) for medium in request.media]
    if isinstance(request, EmbedRequest):
        return Job(request, keys, [])
    check_length(request.prompt, max_model_len)
    choices = [_choice(request, i, tokenizer, max_model_len) for i in range(request.n)]
    return Job(request, keys, choices, is_compiling=request.params.grammar is not None)


def _choice(
    request: GenerateRequest, index: int, tokenizer: Tokenizer, max_model_len: int
) -> Choice:
    params, length = request.params, len(request.prompt)
    max_tokens = min(params.max_tokens, max_model_len - length)
    seed = secrets.randbits(63) if params.seed is None else params.seed
    return Choice(
        Sequence(
            request.request_id,
            index,
            length,
            trail=_trail(request),
            caller=request.cache_salt,
        ),
        Answer(index, params, tokenizer, max_tokens),
        random.Random(f"{seed}:{index}"),
    )


def _trail(request: GenerateRequest) -> Trail:
    items: list[int | str] = list(request.prompt.token_ids)
    for position, slot in request.prompt.slots:
        items[position] = " ".join(request.media[index].digest for index in slot.media)
    # The same tokens have other keys and values in another model.
    return Trail(repr((request.cache_salt, request.model)), items)
