"""The link to an engine in threads of this process: for evaluation, and for tests.

A server has the engine in a process of its own, so that neither waits for the other's Python.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from pandagpt.engine.client import Deliver
from pandagpt.engine.config import EngineConfig
from pandagpt.engine.messages import Abort, Add, Embed
from pandagpt.engine.request import Event
from pandagpt.engine.stats import Stats
from pandagpt.engine.worker import Worker
from pandagpt.errors import EngineFailure
from pandagpt.model.pandagpt import PandaGPT

READY_SECONDS = 600.0


class LocalEngine:
    def __init__(self, model: PandaGPT, config: EngineConfig) -> None:
        """Returns when it is ready. Raises EngineFailure if it does not get ready."""
        self.max_model_len = config.max_model_len or model.max_model_len
        self.is_open = True
        self.is_restarting = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deliver: Deliver | None = None
        self._on_end: Callable[[], None] | None = None
        self._worker = Worker(model, config, self._post, self._ended, self._report)
        self._worker.start()
        if not self._worker.wait_until_ready(READY_SECONDS):
            self._worker.close()
            raise EngineFailure("The engine did not start.")

    def attach(
        self, loop: asyncio.AbstractEventLoop, deliver: Deliver, ended: Callable[[], None]
    ) -> None:
        self._loop, self._deliver, self._on_end = loop, deliver, ended

    def send(self, message: Add | Embed | Abort) -> None:
        self._worker.put(message)

    def close(self) -> None:
        self.is_open = False
        self._worker.close()

    def _post(self, events: list[Event]) -> None:
        if self._deliver and not self._call_loop(partial(self._deliver, events)):
            for request_id in {request_id for request_id, _ in events}:
                self._worker.put(Abort(request_id))

    def _report(self, stats: Stats) -> None:
        if self._deliver:
            self._call_loop(partial(self._deliver, stats))

    def _ended(self) -> None:
        self.is_open = False
        if self._on_end:
            self._call_loop(self._on_end)

    def _call_loop(self, callback: Callable[[], None]) -> bool:
        """False if nobody is there to listen any more."""
        assert self._loop
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the event loop is closed
            return False
        return True
