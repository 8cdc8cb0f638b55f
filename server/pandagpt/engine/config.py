"""The engine's few numbers, each with its unit. Read from nowhere: the caller sets them."""

import os
from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """`max_rows` answers are generated at once; `max_queue` more requests may wait.

    `max_step_tokens` and, beside running streams, `max_step_seconds` bound one forward pass:
    a long prompt is read in chunks and never delays the answers that are being streamed by more.
    A step that takes more than `step_timeout_seconds` hangs (0: never); an engine in a process of
    its own is then replaced. `max_model_len` tokens are a prompt and its answer; None: as many as
    the model knows. Who waits longer than `max_queue_seconds` for a row is refused;
    `max_queue_tokens` bounds the prompts that wait, and `max_request_seconds` a request in all.
    """

    max_rows: int = 32
    max_queue: int = 256
    max_queue_tokens: int = 1 << 18
    max_queue_seconds: float = 30.0
    max_request_seconds: float = 600.0
    max_step_tokens: int = 512
    max_step_seconds: float = 0.25
    step_timeout_seconds: float = 300
    max_model_len: int | None = None
    max_encoder_batch: int = 8
    media_cache_bytes: int = 64 << 20
    prefix_cache_bytes: int = 256 << 20
    num_threads: int = max(1, (os.cpu_count() or 1) - 1)

    def with_rows(self, max_rows: int) -> Self:
        return replace(
            self, max_rows=max_rows, max_step_tokens=_with_room(self.max_step_tokens, max_rows)
        )

    def on(
        self,
        device: str,
        max_step_tokens: int | None = None,
        max_step_seconds: float | None = None,
    ) -> Self:
        """Where none is stated: a GPU reads some ten thousand tokens of prompts a second, so more
        at once, for less long.
        """
        tokens, seconds = self.max_step_tokens, self.max_step_seconds
        if device == "cuda":
            tokens, seconds = 2048, 0.025
        return replace(
            self,
            max_step_tokens=_with_room(max_step_tokens or tokens, self.max_rows),
            max_step_seconds=max_step_seconds or seconds,
        )

    def __post_init__(self) -> None:
        assert self.max_step_tokens > self.max_rows, "a full batch must leave room for a prompt"


def _with_room(max_step_tokens: int, max_rows: int) -> int:
    """Every answer takes one token of a step; twice as many leave room for prompts."""
    return max(max_step_tokens, 2 * max_rows)
