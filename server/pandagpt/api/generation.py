"""One started request: its deltas, the first of which is already here, and what it cost.

Whatever can fail early has failed before this exists, so an error still has its own status.
Streamed and whole answers read the same iterator.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.types import Receive

from pandagpt.api.merged import MergedStream
from pandagpt.api.serving import Engine
from pandagpt.api.sse import wait_for_disconnect
from pandagpt.engine.request import Delta, GenerateRequest
from pandagpt.engine.stream import DeltaStream
from pandagpt.errors import EngineLost

Result = TypeVar("Result")

# A picture and a sound. Held by as many requests as may be open, without taking room.
MAX_KEPT_BYTES = 1 << 20
# A new request waits so long for an engine that is being replaced; one that was accepted by the
# lost one, longer.
HOLD_SECONDS = 20.0
RESTART_SECONDS = 60.0
RESTART_POLL_SECONDS = 0.05


class ClientGone(Exception):
    """Nobody is left to answer."""


@dataclass(slots=True)
class Usage:
    prompt_tokens: int
    slots_by_modality: Counter[str]
    completion_tokens: int = 0
    cached_tokens: int = 0

    def count(self, delta: Delta) -> None:
        self.completion_tokens += len(delta.token_ids)
        self.cached_tokens = max(self.cached_tokens, delta.cached_tokens)

    def log_fields(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "completion_tokens": self.completion_tokens,
        }

    def as_dict(self) -> dict[str, Any]:
        slots = self.slots_by_modality
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {
                "cached_tokens": self.cached_tokens,
                "image_tokens": slots["image"],
                "audio_tokens": slots["audio"],
                "multimodal_tokens": dict(sorted(slots.items())),
            },
        }


@dataclass(slots=True)
class Generation:
    """`again`: for an answer that is given whole, which may start anew until it is."""

    usage: Usage
    _begun: "_Begun"
    _again: Callable[[], Awaitable["_Begun"]] | None

    async def deltas(self) -> AsyncGenerator[Delta]:
        if self._again:
            await self._complete(self._again)
        self.usage.count(self._begun.first)
        yield self._begun.first
        async for delta in self._begun.rest:
            self.usage.count(delta)
            yield delta

    def close(self) -> None:
        """Aborts what is still being generated; to be called whatever has happened."""
        self._begun.rest.close()

    async def _complete(self, again: Callable[[], Awaitable["_Begun"]]) -> None:
        try:
            self._begun = await self._begun.completed()
        except EngineLost:
            self._begun = await again()
            self._begun = await self._begun.completed()


@dataclass(frozen=True, slots=True)
class _Begun:
    num_choices: int
    first: Delta
    rest: DeltaStream | MergedStream

    async def completed(self) -> "_Begun":
        """All of it, the deltas of each choice merged."""
        kept = DeltaStream(self.num_choices, lambda: None)
        kept.put(self.first)
        async for delta in self.rest:
            kept.put(delta)
        return _Begun(self.num_choices, await anext(kept), kept)


async def start(
    engine: Engine, requests: Sequence[GenerateRequest], usage: Usage, *, is_whole: bool
) -> Generation:
    """Returns with the first delta, or raises what the engine raises before it.

    While the engine's process is replaced, all waits. If it is lost, all starts once more: until
    the first delta, or until the last where the answer `is_whole` and its media are not too large
    to be kept so long.
    """

    async def begin() -> _Begun:
        rest = _generate(engine, requests)
        try:
            return _Begun(sum(request.n for request in requests), await anext(rest), rest)
        except BaseException:
            rest.close()
            raise

    async def begin_again() -> _Begun:
        await _while_restarting(engine, RESTART_SECONDS)
        return await begin()

    begun = await once_more(engine, begin)
    num_bytes = sum(medium.array.nbytes for request in requests for medium in request.media)
    is_kept = is_whole and num_bytes <= MAX_KEPT_BYTES
    return Generation(usage, begun, begin_again if is_kept else None)


async def once_more(engine: Engine, work: Callable[[], Awaitable[Result]]) -> Result:
    """`work`, and again if the engine's process is lost meanwhile, each as soon as one runs.

    Who waits here keeps the place that the gate has given: there are never more than may be open.
    """
    await _while_restarting(engine, HOLD_SECONDS)
    try:
        return await work()
    except EngineLost:
        await _while_restarting(engine, RESTART_SECONDS)
        return await work()


async def _while_restarting(engine: Engine, timeout_seconds: float) -> None:
    """Returns in any case: an engine that has not come back refuses by itself, and says why."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_seconds):
            while engine.is_restarting:
                await asyncio.sleep(RESTART_POLL_SECONDS)


def _generate(engine: Engine, requests: Sequence[GenerateRequest]) -> DeltaStream | MergedStream:
    """All of them or none: where the queue has no place for one, those before it are dropped,
    which aborts them."""
    streams = [engine.generate(request) for request in requests]
    return streams[0] if len(streams) == 1 else MergedStream(streams, requests[0].n)


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`; if the client leaves first, `work` is cancelled: ClientGone."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(wait_for_disconnect(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        gone.cancel()
        task.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)
