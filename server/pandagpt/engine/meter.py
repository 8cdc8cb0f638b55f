"""Deltas as they come and what the engine tells of itself, to metrics.

On the event loop: what is done for each token is paid for by every stream.
"""

from time import perf_counter

from pandagpt.engine.request import Delta
from pandagpt.engine.stats import Stats
from pandagpt.metrics import EngineMetrics


class RequestMeter:
    """One request, from the moment that the engine is asked."""

    def __init__(self, metrics: EngineMetrics, num_prompt_tokens: int, num_choices: int) -> None:
        self._metrics = metrics
        self._tokens = metrics.tokens
        self._num_prompt_tokens = num_prompt_tokens
        self._started_at = perf_counter()
        self._last_at = [0.0] * num_choices

    def count(self, delta: Delta) -> None:
        now = perf_counter()
        last_at = self._last_at[delta.index]
        self._last_at[delta.index] = now
        self._tokens.num_tokens += len(delta.token_ids)
        if last_at:
            self._tokens.observe(now - last_at)
        else:
            self._begin(now - self._started_at)
        if delta.finish_reason is not None:
            self._metrics.latency.observe(now - self._started_at)
            self.end(delta.finish_reason, 1)

    def end(self, reason: str, num_choices: int) -> None:
        self._metrics.finished.labels(reason).inc(num_choices)

    def _begin(self, seconds: float) -> None:
        self._metrics.first_token.observe(seconds)
        self._metrics.prompt_tokens.inc(self._num_prompt_tokens)
        # Further choices of a request read no prompt of their own.
        self._num_prompt_tokens = 0


def record(stats: Stats, metrics: EngineMetrics) -> None:
    metrics.running.set(stats.num_running)
    metrics.waiting.set(stats.num_waiting)
    metrics.cache_usage.set(stats.cache_usage)
    for seconds in stats.queue_seconds:
        metrics.queue_time.observe(seconds)
    for modality, seconds in stats.encoder_seconds:
        metrics.encoder.labels(modality.value).observe(seconds)
    metrics.media_queries.inc(stats.media_queries)
    metrics.media_hits.inc(stats.media_hits)
    metrics.prefix_queries.inc(stats.prefix_queries)
    metrics.prefix_hits.inc(stats.prefix_hits)
