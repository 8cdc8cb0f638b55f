"""What the server counts, as Prometheus reads it: vLLM's names after `pandagpt:`, and a few more.

Each app and each engine has a registry of its own, so that several live in one process. No label
has values that a client chooses.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate, chain

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

FINISHED_REASONS = ("stop", "length", "abort", "error")
REJECTIONS = ("429", "503")
UNROUTED = "none"

# Upper bounds in seconds: of the time between two tokens, until something begins, of all of it.
TOKEN_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
START_BOUNDS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
ANSWER_BOUNDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)


class HttpMetrics:
    """Of one app: what its clients were told."""

    def __init__(self, media_codes: Iterable[str]) -> None:
        registry = self.registry = CollectorRegistry()
        self._requests = Counter(
            "pandagpt:http_requests",
            "Answered HTTP requests; the route is 'none' where a path or a key was refused.",
            ["route", "status"],
            registry=registry,
        )
        self._rejections = Counter(
            "pandagpt:admission_rejections",
            "Requests sent away because of their number: 503 the server's, 429 one key's.",
            ["status"],
            registry=registry,
        )
        self._media_failures = Counter(
            "pandagpt:media_failures",
            "Requests refused because of a medium, by the error's code.",
            ["code"],
            registry=registry,
        )
        # Known from the start, so that the first one shows in a rate.
        for status in REJECTIONS:
            self._rejections.labels(status)
        self._media_codes = frozenset(media_codes)
        for code in self._media_codes:
            self._media_failures.labels(code)

    def answered(self, route: str | None, status: int, *, is_probe: bool) -> None:
        self._requests.labels(route or UNROUTED, str(status)).inc()
        if str(status) in REJECTIONS and not is_probe:
            self._rejections.labels(str(status)).inc()

    def refused(self, code: str | None) -> None:
        if code in self._media_codes:
            self._media_failures.labels(code).inc()


class EngineMetrics:
    """Of one engine. Each of a request's `n` answers counts as a request, as with vLLM."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.tokens = TokenMetrics()
        registry.register(self.tokens)
        self.running = Gauge(
            "pandagpt:num_requests_running", "Answers being generated.", registry=registry
        )
        self.waiting = Gauge(
            "pandagpt:num_requests_waiting",
            "Answers not begun, and embeddings: for a row, for their media or for a grammar.",
            registry=registry,
        )
        self.cache_usage = Gauge(
            "pandagpt:kv_cache_usage_perc", "KV cache in use; 1 is all of it.", registry=registry
        )
        self.prompt_tokens = Counter(
            "pandagpt:prompt_tokens", "Tokens of prompts that were read.", registry=registry
        )
        self.finished = Counter(
            "pandagpt:request_success",
            "Answers that ended, by their reason.",
            ["finished_reason"],
            registry=registry,
        )
        for reason in FINISHED_REASONS:
            self.finished.labels(reason)
        self.first_token = Histogram(
            "pandagpt:time_to_first_token_seconds",
            "From the engine's queue, media decoded, to the first token.",
            buckets=START_BOUNDS,
            registry=registry,
        )
        self.latency = Histogram(
            "pandagpt:e2e_request_latency_seconds",
            "From the engine's queue to the last token, of answers not cut off.",
            buckets=ANSWER_BOUNDS,
            registry=registry,
        )
        self.queue_time = Histogram(
            "pandagpt:request_queue_time_seconds",
            "From the engine's queue to the reading of the prompt; media are encoded in between.",
            buckets=START_BOUNDS,
            registry=registry,
        )
        self.encoder = Histogram(
            "pandagpt:encoder_seconds",
            "Encoding of one medium; those encoded together share their time.",
            ["modality"],
            buckets=START_BOUNDS,
            registry=registry,
        )
        self.media_queries = Counter(
            "pandagpt:mm_cache_queries", "Media that requests came with.", registry=registry
        )
        self.media_hits = Counter(
            "pandagpt:mm_cache_hits",
            "Media that needed no encoding of their own.",
            registry=registry,
        )
        self.prefix_queries = Counter(
            "pandagpt:prefix_cache_queries",
            "Prompt tokens looked for in the prefix cache.",
            registry=registry,
        )
        self.prefix_hits = Counter(
            "pandagpt:prefix_cache_hits",
            "Prompt tokens found in the prefix cache.",
            registry=registry,
        )


class TokenMetrics:
    """Counted for every token of every stream on the event loop, where the library's own counters
    with their locks would cost several times as much."""

    def __init__(self) -> None:
        self.num_tokens = 0
        self._seconds = 0.0
        self._counts = [0] * (len(TOKEN_BOUNDS) + 1)

    def observe(self, seconds: float) -> None:
        self._seconds += seconds
        self._counts[bisect_left(TOKEN_BOUNDS, seconds)] += 1

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "pandagpt:generation_tokens", "Tokens generated.", value=self.num_tokens
        )
        bounds = [*map(str, TOKEN_BOUNDS), "+Inf"]
        yield HistogramMetricFamily(
            "pandagpt:inter_token_latency_seconds",
            "Between two tokens of an answer, as they come from the engine.",
            buckets=list(zip(bounds, accumulate(self._counts), strict=True)),
            sum_value=self._seconds,
        )


def exposition(registries: Iterable[CollectorRegistry]) -> bytes:
    return generate_latest(_Shown(registries))


class _Shown:
    """Without the time at which each counter was made, which would be as many lines again."""

    def __init__(self, registries: Iterable[CollectorRegistry]) -> None:
        self._registries = registries

    def collect(self) -> Iterator[Metric]:
        for family in chain.from_iterable(one.collect() for one in self._registries):
            family.samples = [s for s in family.samples if not s.name.endswith("_created")]
            yield family
