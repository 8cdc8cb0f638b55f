"""Measured rounds of each server in, Markdown tables out. The first server is the one compared."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.bench.load import Batch, spread


@dataclass(slots=True)
class Measured:
    """`turns` are seconds to the first token of a conversation's first and second answer."""

    name: str
    start_seconds: float = 0.0
    peak_bytes: int = 0
    batches: dict[int, list[Batch]] = field(default_factory=lambda: defaultdict(list))
    turns: list[tuple[float, float]] = field(default_factory=list)

    def add(self, concurrency: int, batch: Batch) -> None:
        self.batches[concurrency].append(batch)

    def rates(self, concurrency: int) -> list[float]:
        return [batch.tokens_per_second for batch in self.batches[concurrency]]

    def token_ms(self, concurrency: int) -> list[float]:
        return [
            statistics.median(s.seconds_per_token for s in batch.streams) * 1e3
            for batch in self.batches[concurrency]
        ]

    def first_ms(self, concurrency: int, share: float) -> list[float]:
        return [
            quantile([s.first_token_seconds for s in batch.streams], share) * 1e3
            for batch in self.batches[concurrency]
        ]


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def tables(results: Sequence[Measured], concurrency: Sequence[int]) -> str:
    ours = results[0]
    parts = [_rows(_of_load(results, count, ours)) for count in concurrency]
    return "\n\n".join([*parts, _rows(_of_process(results))])


def _of_load(results: Sequence[Measured], count: int, ours: Measured) -> Iterator[Sequence[str]]:
    yield (
        f"{count} streams",
        "tok/s",
        f"{ours.name} is x times as fast",
        "TPOT p50, ms",
        "x",
        "TTFT p50, ms",
        "TTFT p95, ms",
        "same text",
    )
    for theirs in results:
        yield (
            theirs.name,
            spread(theirs.rates(count)),
            spread(ratios(ours.rates(count), theirs.rates(count)), 2),
            spread(theirs.token_ms(count), 1),
            spread(ratios(theirs.token_ms(count), ours.token_ms(count)), 2),
            spread(theirs.first_ms(count, 0.5)),
            spread(theirs.first_ms(count, 0.95)),
            f"{same_texts(ours.batches[count], theirs.batches[count]):.0%}",
        )


def same_texts(ours: Sequence[Batch], theirs: Sequence[Batch]) -> float:
    """Share of answers: equal weights and prompts, but sums in another order or precision.

    Some servers show the blank that LLaMA's tokenizer puts before a text.
    """
    pairs = [
        (a.text.lstrip(" "), b.text.lstrip(" "))
        for one, other in zip(ours, theirs, strict=True)
        for a, b in zip(one.streams, other.streams, strict=True)
    ]
    return sum(a == b for a, b in pairs) / len(pairs)


def _of_process(results: Sequence[Measured]) -> Iterator[Sequence[str]]:
    yield ("process", "start, s", "peak PSS, MiB", "TTFT turn 1, ms", "turn 2, ms", "turn 2 / 1")
    for result in results:
        first, second = (
            [seconds * 1e3 for seconds in turn] for turn in zip(*result.turns, strict=True)
        )
        yield (
            result.name,
            f"{result.start_seconds:.1f}",
            f"{result.peak_bytes / 2**20:.0f}",
            spread(first),
            spread(second),
            spread(ratios(second, first), 2),
        )


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Round by round; none where a starved client has read a whole answer at once."""
    return [a / b if b else math.nan for a, b in zip(above, below, strict=True)]


def _rows(rows: Iterator[Sequence[str]]) -> str:
    header, *body = rows
    lines = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
