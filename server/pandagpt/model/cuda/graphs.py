"""Decode steps of one cache, captured once for each number of rows and then only replayed.

A captured step has no launches to wait for, but knows its buffers by address: the cache is
fixed, inputs are copied into buffers that stay, and a step of fewer rows than were captured
fills up with rows that write to a spare place, behind the last position of any sequence.
Each capture is compared with the step that torch would have made of it, or it is not used.
All of this is tested with a function in a graph's place; no graph has run on a GPU yet.

Axes: B rows of a capture, H hidden, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from pandagpt.model.cuda.passes import Buffers, Pass
from pandagpt.model.kv_cache import KVCache, Span
from pandagpt.model.llama import Llama

NUM_ROWS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128)
"""Of a captured step; and all rows of the cache."""

# Of the largest logit: how far two ways to compute a step may lie apart by rounding alone.
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 6e-2}
# How long the sequences are on which a capture is checked: row 0, which no capture lacks, is
# read in several parts of several blocks by a kernel; the others have from 1 token to so many.
_LONG_CHECK, _SHORT_CHECK = 1100, 61
_TIMED_RUNS = 5


@dataclass(frozen=True, slots=True)
class Captured:
    """`replay` computes the step again, from the buffers as they are now, into `hidden_BH`."""

    replay: Callable[[], object]
    hidden_BH: Tensor


Capture = Callable[[Callable[[], Tensor]], Captured]


class DecodeGraphs:
    @torch.inference_mode()
    def __init__(
        self,
        llama: Llama,
        cache: KVCache,
        way: type[Pass],
        capture: Capture,
        sizes: Sequence[int] | None = None,
    ) -> None:
        """Raises whatever a capture raises, and ArithmeticError if one computes anything else.

        `sizes`: how many rows, if not all that there may be. The cache must be empty, and is
        left so.
        """
        self.cache, self.way = cache, way
        self._llama = llama
        self._buffers = Buffers.of(llama, cache)
        self._sizes = sizes or sizes_of(cache.num_rows)
        self._lengths = way.lengths(self.max_len)
        self._captured: dict[tuple[int, int], Captured] = {}
        positions = self._fill()
        for size in self._sizes:
            for length in self._lengths:
                # A capture runs, and what another size has left would be no places of this one.
                self._buffers.write(size, self._embeds(0), positions[:0], spare=self.max_len)
                run = way(llama, cache, self._buffers, size, length)
                self._captured[size, length] = capture(run)
                self._check(size, length, positions)
        cache.reset()

    @property
    def max_len(self) -> int:
        """One place of the cache is the spare one."""
        return self.cache.capacity - 1

    @torch.inference_mode()
    def __call__(self, embeds_NH: Tensor, positions_N: Tensor) -> Tensor:
        """Hidden states [N, H] of rows 0, 1, ...; they are overwritten by the next call."""
        size = _first(self._sizes, len(positions_N))
        length = _first(self._lengths, int(positions_N.max()) + 1)
        return self._run(size, length, embeds_NH, positions_N)

    @torch.inference_mode()
    def seconds(self) -> float:
        """Of one step of each size, its rows as long as half the cache."""
        positions = torch.full((self._sizes[-1],), self.max_len // 2)
        embeds = self._llama.embed(torch.zeros_like(positions).to(self._llama.device))
        return sum(self._seconds(embeds[:size], positions[:size]) for size in self._sizes)

    def _run(self, size: int, length: int, embeds_NH: Tensor, positions_N: Tensor) -> Tensor:
        captured = self._captured[size, length]
        self._buffers.write(size, embeds_NH, positions_N, spare=self.max_len)
        captured.replay()
        return captured.hidden_BH[: len(positions_N)]

    def _seconds(self, embeds_NH: Tensor, positions_N: Tensor) -> float:
        times = []
        for _ in range(_TIMED_RUNS):
            start = perf_counter()
            hidden_NH = self(embeds_NH, positions_N)
            float(hidden_NH[0, 0])  # waits for the device
            times.append(perf_counter() - start)
        return min(times)

    # -- the check

    def _fill(self) -> Tensor:
        """Reads a short text of its own into every row; where each row's next token stands."""
        longest = self.max_len - 1
        short = min(_SHORT_CHECK, longest)
        lengths = [1 + 7 * row % short for row in range(self._sizes[-1])]
        lengths[0] = min(_LONG_CHECK, longest)
        spans = [Span(row, 0, length) for row, length in enumerate(lengths)]
        positions = torch.cat([torch.arange(length) for length in lengths])
        self._eager(self._embeds(len(positions)), positions, 0, spans)
        return torch.tensor(lengths)

    def _check(self, size: int, length: int, positions_B: Tensor) -> None:
        """With an unused row, where there may be one; what is too long for it ends earlier."""
        num_rows = max(1, size - 1)
        embeds_NH, positions_N = (
            self._embeds(num_rows),
            positions_B[:num_rows].clamp(max=length - 1),
        )
        expected = self._llama.logits(self._eager(embeds_NH, positions_N, num_rows))
        got = self._llama.logits(self._run(size, length, embeds_NH, positions_N))
        difference = float((got - expected).abs().max() / expected.abs().max())
        # Also false of NaN.
        if not difference <= _TOLERANCE[self._llama.dtype]:
            raise ArithmeticError(f"a captured step of {size} rows differs by {difference:.1e}")

    def _embeds(self, num_tokens: int) -> Tensor:
        generator = torch.Generator().manual_seed(num_tokens)
        ids = torch.randint(self._llama.config.vocab_size, (num_tokens,), generator=generator)
        return self._llama.embed(ids.to(self._llama.device))

    def _eager(
        self, embeds_NH: Tensor, positions_N: Tensor, num_decodes: int, spans: Sequence[Span] = ()
    ) -> Tensor:
        """By the decoder's own forward pass, whatever a subclass makes of it."""
        return Llama.forward(self._llama, embeds_NH, positions_N, self.cache, num_decodes, spans)


def sizes_of(num_rows: int) -> tuple[int, ...]:
    return (*(size for size in NUM_ROWS if size < num_rows), num_rows)


class CudaCapture:
    """Captures on one stream and in one pool of memory: the graphs are replayed one at a time.

    Kernels keep the priority of the stream that they were captured on.
    """

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream(priority=-1)
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, run: Callable[[], Tensor]) -> Captured:
        """Runs it twice first: what is compiled or allocated only once must not be captured."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            run()
            run()
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        mode = "thread_local"  # other threads may use the device meanwhile
        with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode=mode):
            hidden_BH = run()
        return Captured(graph.replay, hidden_BH)


def _first(steps: Sequence[int], least: int) -> int:
    return next(step for step in steps if step >= least)
