"""A number of bytes that requests share: each takes its part, waits for it if it must, in turn.

Knows nothing of what the bytes are. Lives in one event loop.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Room:
    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        self.num_free = num_bytes
        self._turn = asyncio.Lock()
        self._given_back = asyncio.Event()

    @asynccontextmanager
    async def held(self, num_bytes: int) -> AsyncGenerator[None]:
        """First come, first served. What is larger than the whole room has it alone."""
        part = min(num_bytes, self.num_bytes)
        if part:
            await self._take(part)
        try:
            yield
        finally:
            self.num_free += part
            self._given_back.set()

    async def _take(self, part: int) -> None:
        async with self._turn:
            while self.num_free < part:
                self._given_back.clear()
                await self._given_back.wait()
            self.num_free -= part
