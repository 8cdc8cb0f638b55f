"""One request's deltas on the asyncio side, as an async iterator. Lives in one event loop.

A slow reader finds the deltas of a choice merged into one. Closing or cancelling it, or
dropping it unread, aborts the request.
"""

import asyncio
from collections.abc import Callable
from typing import Self

from pandagpt.engine.meter import RequestMeter
from pandagpt.engine.request import Delta, Embeddings
from pandagpt.errors import PandaError


class DeltaStream:
    def __init__(
        self, num_choices: int, abort: Callable[[], None], meter: RequestMeter | None = None
    ) -> None:
        self._num_open = num_choices
        self._abort = abort
        self._meter = meter
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
            self._pending.setdefault(event.index, []).append(event)
            self._num_open -= event.finish_reason is not None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Drops what is unread, and aborts what is not over."""
        self._pending.clear()
        self._error = None
        if not self.is_over:
            if self._meter:
                self._meter.end("abort", self._num_open)
            self._num_open = 0
            self._abort()

    async def aclose(self) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta:
        while not self._pending and not self.is_over:
            await self._wait()
        if self._pending:
            return _merged(self._pending.pop(next(iter(self._pending))))
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        raise StopAsyncIteration

    def __del__(self) -> None:
        # A consumer that was dropped in the middle must not keep its row.
        self.close()

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
