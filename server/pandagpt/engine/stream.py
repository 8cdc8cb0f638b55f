"""One request's deltas on the asyncio side, as an async iterator. Lives in one event loop.

A slow reader finds the deltas of a choice merged into one, and one that leaves too much unread
loses the rest. Closing or cancelling it, or dropping it unread, aborts the request.
"""

import asyncio
from collections.abc import Callable
from typing import Self

from pandagpt.engine.meter import RequestMeter
from pandagpt.engine.request import Delta, Embeddings
from pandagpt.errors import DeadlineExceeded, PandaError

# Text alone never comes near: 80,000 tokens. 20 logprobs a token do, by the hundred megabytes for
# 128 long choices. A generation that paused instead would hold its row for who does not read.
MAX_UNREAD_BYTES = 1 << 20
MAX_UNMERGED = 64
# As JSON, about.
LOGPROB_BYTES = 64
TOKEN_BYTES = 8


class DeltaStream:
    """`max_unread_bytes` None: any number, for who keeps a whole answer here."""

    def __init__(
        self,
        num_choices: int,
        abort: Callable[[], None],
        meter: RequestMeter | None = None,
        max_unread_bytes: int | None = None,
    ) -> None:
        self._num_open = num_choices
        self._abort = abort
        self._meter = meter
        self._max_unread_bytes = max_unread_bytes
        self._num_unread_bytes = 0
        self._pending: dict[int, list[Delta]] = {}
        self._error: PandaError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_over(self) -> bool:
        """Nothing more will come from the engine."""
        return self._num_open == 0

    def put(self, event: Delta | Embeddings | PandaError) -> None:
        assert not isinstance(event, Embeddings)
        if isinstance(event, PandaError):
            if self._meter:
                self._meter.end("error", self._num_open)
            self._error, self._num_open = event, 0
        else:
            if self._meter:
                self._meter.count(event)
            self._keep(event)
            self._num_open -= event.finish_reason is not None
            self._end_if_unread()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Drops what is unread, and aborts what is not over."""
        self._pending.clear()
        self._error = None
        self._abort_open()

    async def aclose(self) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta:
        while not self._pending and not self.is_over:
            await self._wait()
        if self._pending:
            delta = _merged(self._pending.pop(next(iter(self._pending))))
            self._num_unread_bytes -= _num_bytes(delta)
            return delta
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        raise StopAsyncIteration

    def __del__(self) -> None:
        # A consumer that was dropped in the middle must not keep its row.
        self.close()

    def _keep(self, delta: Delta) -> None:
        deltas = self._pending.setdefault(delta.index, [])
        deltas.append(delta)
        self._num_unread_bytes += _num_bytes(delta)
        if len(deltas) > MAX_UNMERGED:
            deltas[:] = [_merged(deltas)]

    def _end_if_unread(self) -> None:
        limit = self._max_unread_bytes
        if limit is None or self._num_unread_bytes <= limit or self.is_over:
            return
        self._pending.clear()
        message = f"The answer was read too slowly: more than {limit} bytes of it waited."
        self._error = DeadlineExceeded(f"{message} Ask for fewer logprobs or choices.")
        self._abort_open()

    def _abort_open(self) -> None:
        if self.is_over:
            return
        if self._meter:
            self._meter.end("abort", self._num_open)
        self._num_open = 0
        self._abort()

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._waiter = None


class Reply:
    """One request's only event. Lives in one event loop."""

    def __init__(self) -> None:
        self.future: asyncio.Future[Embeddings] = asyncio.get_running_loop().create_future()

    @property
    def is_over(self) -> bool:
        return self.future.done()

    def put(self, event: Delta | Embeddings | PandaError) -> None:
        assert not isinstance(event, Delta)
        if self.future.done():
            return
        if isinstance(event, PandaError):
            self.future.set_exception(event)
        else:
            self.future.set_result(event)


def _num_bytes(delta: Delta) -> int:
    num_logprobs = sum(1 + len(logprob.top) for logprob in delta.logprobs)
    return len(delta.text) + TOKEN_BYTES * len(delta.token_ids) + LOGPROB_BYTES * num_logprobs


def _merged(deltas: list[Delta]) -> Delta:
    if len(deltas) == 1:
        return deltas[0]
    return Delta(
        deltas[0].index,
        "".join(delta.text for delta in deltas),
        tuple(token_id for delta in deltas for token_id in delta.token_ids),
        tuple(logprob for delta in deltas for logprob in delta.logprobs),
        deltas[-1].finish_reason,
        deltas[-1].cached_tokens,
    )
