"""uvicorn's server, which drains before it closes its port and obeys a second signal at once."""

from collections.abc import Awaitable, Callable
from types import FrameType

import uvicorn

from pandagpt.cli.exit import SIGNALLED, leave


class Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, drain: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._drain = drain

    async def main_loop(self) -> None:
        """Until a signal, and on until all is drained: meanwhile who comes is told so."""
        await super().main_loop()
        await self._drain()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._captured_signals:
            leave(SIGNALLED + sig)
        super().handle_exit(sig, frame)
