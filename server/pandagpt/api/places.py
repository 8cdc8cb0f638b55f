"""Who may come in, and who has: requests that are read, wait or are answered, by caller.

Policy only: knows no HTTP and no engine. Lives in one event loop.
"""

import asyncio
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from pandagpt.errors import Overloaded, RateLimited


@dataclass(frozen=True, slots=True)
class PlaceLimits:
    """`max_per_caller` 0: any number. `has_callers`: several share the queue, fairly."""

    max_queue: int
    max_per_caller: int = 0
    has_callers: bool = False


class Places:
    def __init__(self, limits: PlaceLimits) -> None:
        self._limits = limits
        self._open: Counter[str] = Counter()
        self._left = asyncio.Event()

    @property
    def num_open(self) -> int:
        return self._open.total()

    @contextmanager
    def taken(self, caller: str, num_rows: int) -> Generator[None]:
        """Raises Overloaded where the queue is full, RateLimited where this caller's share is.

        `num_rows` are answered at once; only those beyond them wait.
        """
        self._refuse(caller, num_rows)
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]
            self._left.set()

    async def all_left(self, timeout_seconds: float) -> bool:
        try:
            async with asyncio.timeout(timeout_seconds):
                while self._open:
                    self._left.clear()
                    await self._left.wait()
        except TimeoutError:
            return False
        return True

    def _refuse(self, caller: str, num_rows: int) -> None:
        limits, own = self._limits, self._open[caller]
        if limits.max_per_caller and own >= limits.max_per_caller:
            message = f"{own} of your requests are being answered, the most at once. Wait for one."
            raise RateLimited(message)
        num_waiting = max(0, self.num_open - num_rows)
        num_free = limits.max_queue - num_waiting
        if self.num_open < num_rows:
            return
        if num_free <= 0:
            raise Overloaded(f"The queue is full ({limits.max_queue} requests). Try again later.")
        # Dynamic thresholds (Choudhury and Hahne, 1998): nobody holds more of a queue than what
        # is left of it. Alone that is half; and there is always room for one who comes anew.
        if limits.has_callers and min(own, num_waiting) >= num_free:
            message = f"Your requests fill your share of the queue ({num_free}). Try again later."
            raise RateLimited(message)
