"""The engine's process, kept running: one that has ended is replaced, and the link stays the same.

What was open in the lost process fails, which the client hears before the next one is attached;
meanwhile the link is closed, so nothing is sent to nobody.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from pandagpt.engine.client import Deliver
from pandagpt.engine.messages import Abort, Add, Embed, Ready, Start
from pandagpt.engine.process import EngineProcess
from pandagpt.errors import PandaError
from pandagpt.logs import get_logger

log = get_logger()

# A process that was ready and is lost is replaced at once. One that cannot even start will hardly
# do so a moment later: weights may be gone, or memory.
MAX_PAUSE_SECONDS = 30.0
# Memory of the lost process may take a moment to be free.
MAX_HOPEFUL_STARTS = 3

Attachment = tuple[asyncio.AbstractEventLoop, Deliver, Callable[[], None]]


class SupervisedEngine:
    """A link, as `EngineProcess` is one."""

    def __init__(self, start: Start) -> None:
        """Returns at once, while the first process loads. To be closed in any case."""
        self._start = start
        self._closing = threading.Event()
        self._changing = threading.Lock()
        self._attachment: Attachment | None = None
        self._num_failed_starts = 0
        self._process = EngineProcess(start, self._replace)

    def wait_until_ready(self) -> Ready:
        """Of the first process, whose failure to start is the caller's to tell."""
        return self._process.wait_until_ready()

    @property
    def max_model_len(self) -> int:
        return self._process.max_model_len

    @property
    def is_open(self) -> bool:
        return self._process.is_open

    @property
    def is_restarting(self) -> bool:
        has_hope = self._num_failed_starts < MAX_HOPEFUL_STARTS
        return has_hope and not self.is_open and not self._closing.is_set()

    def attach(
        self, loop: asyncio.AbstractEventLoop, deliver: Deliver, ended: Callable[[], None]
    ) -> None:
        self._attachment = (loop, deliver, ended)
        if self.is_open:
            self._process.attach(loop, deliver, ended)

    def send(self, message: Add | Embed | Abort) -> None:
        self._process.send(message)

    def close(self) -> None:
        with self._changing:
            self._closing.set()
        self._process.close()

    # -- on the thread that has watched the lost process

    def _replace(self) -> None:
        self._process.close()
        pause_seconds = 0.0
        while not self._closing.wait(pause_seconds):
            pause_seconds = min(max(1.0, 2 * pause_seconds), MAX_PAUSE_SECONDS)
            if self._start_another():
                return

    def _start_another(self) -> bool:
        with self._changing:
            if self._closing.is_set():
                return False
            process = self._process = EngineProcess(self._start, self._replace)
        try:
            process.wait_until_ready()
        except PandaError as error:
            if not self._closing.is_set():
                log.error("engine_did_not_restart", reason=error.message)
            process.close()
            self._num_failed_starts += 1
            return False
        self._num_failed_starts = 0
        log.info("engine_restarted")
        if self._attachment:
            loop, *callbacks = self._attachment
            with suppress(RuntimeError):  # that loop is closed; the next one attaches itself
                loop.call_soon_threadsafe(process.attach, loop, *callbacks)
        return True
