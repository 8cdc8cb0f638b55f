"""A number of bytes that requests share: each takes its part, waits for it if it must, in turn.

Whoever waits too long is refused. Knows nothing of what the bytes are. Lives in one event loop.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from pandagpt.errors import Overloaded


class Room:
    def __init__(self, num_bytes: int, max_wait_seconds: float) -> None:
        self.num_bytes = num_bytes
        self.max_wait_seconds = max_wait_seconds
        self.num_free = num_bytes
        self._turn = asyncio.Lock()
        self._given_back = asyncio.Event()

    @asynccontextmanager
    async def held(self, num_bytes: int) -> AsyncGenerator[None]:
        """First come, first served. What is larger than the whole room has it alone.

        Raises Overloaded.
        """
        part = min(num_bytes, self.num_bytes)
        if part:
            await self._take_in_time(part)
        try:
            yield
        finally:
            self.num_free += part
            self._given_back.set()

    async def _take_in_time(self, part: int) -> None:
        try:
            async with asyncio.timeout(self.max_wait_seconds):
                await self._take(part)
        except TimeoutError:
            message = f"The request waited longer than {self.max_wait_seconds:g} s for room."
            raise Overloaded(f"{message} Try again later.", retry_after_seconds=5) from None

    async def _take(self, part: int) -> None:
        async with self._turn:
            while self.num_free < part:
                self._given_back.clear()
                await self._given_back.wait()
            self.num_free -= part
