"""One started request: its deltas, the first of which is already here, and what it cost.

Whatever can fail early has failed before this exists, so an error still has its own status.
Streamed and whole answers read the same iterator.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.types import Receive

from pandagpt.api.merged import MergedStream
from pandagpt.api.serving import Engine
from pandagpt.api.sse import wait_for_disconnect
from pandagpt.engine.request import Delta, GenerateRequest
from pandagpt.engine.stream import DeltaStream

Result = TypeVar("Result")


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


@dataclass(frozen=True, slots=True)
class Generation:
    usage: Usage
    _first: Delta
    _rest: DeltaStream | MergedStream

    async def deltas(self) -> AsyncGenerator[Delta]:
        self.usage.count(self._first)
        yield self._first
        async for delta in self._rest:
            self.usage.count(delta)
            yield delta

    def close(self) -> None:
        """Aborts what is still being generated; to be called whatever has happened."""
        self._rest.close()


async def start(engine: Engine, requests: Sequence[GenerateRequest], usage: Usage) -> Generation:
    """Returns with the first delta, or raises what the engine raises before it."""
    rest = _generate(engine, requests)
    try:
        first = await anext(rest)
    except BaseException:
        rest.close()
        raise
    return Generation(usage, first, rest)


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
