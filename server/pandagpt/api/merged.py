"""Several requests' streams as one: deltas as they come, choices numbered through."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from pandagpt.engine.request import Delta
from pandagpt.engine.stream import DeltaStream


class MergedStream:
    """Each stream has `n` choices; those of the second follow those of the first."""

    def __init__(self, streams: Sequence[DeltaStream], n: int) -> None:
        self._streams = streams
        self._n = n
        self._cached_tokens = [0] * len(streams)
        self._waiting: dict[asyncio.Task[Delta], int] = {}
        for position in range(len(streams)):
            self._await_next(position)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta:
        while self._waiting:
            done, _ = await asyncio.wait(self._waiting, return_when=asyncio.FIRST_COMPLETED)
            task = next(iter(done))
            position = self._waiting.pop(task)
            if isinstance(task.exception(), StopAsyncIteration):
                continue
            delta = self._placed(task.result(), position)
            self._await_next(position)
            return delta
        raise StopAsyncIteration

    def close(self) -> None:
        for task in self._waiting:
            # One that is done may have failed as the first did; asyncio wants that to be seen.
            if not task.cancel():
                task.exception()
        for stream in self._streams:
            stream.close()

    def _await_next(self, position: int) -> None:
        self._waiting[asyncio.ensure_future(anext(self._streams[position]))] = position

    def _placed(self, delta: Delta, position: int) -> Delta:
        """`cached_tokens` is what all of them together have found so far."""
        cached = self._cached_tokens
        cached[position] = max(cached[position], delta.cached_tokens)
        index = position * self._n + delta.index
        return replace(delta, index=index, cached_tokens=sum(cached))
