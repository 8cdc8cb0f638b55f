"""Signs of life of another process: what is not heard from for too long cannot speak any more.

It counts ticks of the event loop that listens, not time: while that loop was held up, or the whole
machine, nobody has listened.
"""

import asyncio
import math
from collections.abc import Callable

from pandagpt.engine.watchdog import tick_seconds

# What hangs in a step is told by its own watchdog first, which knows where.
LATE_TICKS = 4


class Heartbeat:
    """Lives in one event loop at a time. `on_silence` is called once; 0 seconds: never."""

    def __init__(self, timeout_seconds: float, on_silence: Callable[[], None]) -> None:
        self._on_silence = on_silence
        self._is_on = timeout_seconds > 0
        self._tick_seconds = tick_seconds(timeout_seconds)
        self._max_ticks = math.ceil(timeout_seconds / self._tick_seconds) + LATE_TICKS
        self._num_silent = 0
        self._timer: asyncio.TimerHandle | None = None

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        self.stop()
        self._num_silent = 0
        if self._is_on:
            self._timer = loop.call_later(self._tick_seconds, self._tick, loop)

    def heard(self) -> None:
        self._num_silent = 0

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._num_silent += 1
        if self._num_silent > self._max_ticks:
            self._on_silence()
            return
        self._timer = loop.call_later(self._tick_seconds, self._tick, loop)
