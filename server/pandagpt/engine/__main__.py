"""`python -m pandagpt.engine FD`: the engine's process, which `process` starts.

Its first message says what to load. It ends when its socket closes, so that it never outlives
the server; signals to end are the server's business, which lets open requests finish first.
"""

import os
import socket
import sys
import threading
from functools import partial
from pathlib import Path

from pandagpt import logs
from pandagpt.child_process import leave_signals_to_parent
from pandagpt.engine import faults
from pandagpt.engine.capacity import Capacity
from pandagpt.engine.config import EngineConfig
from pandagpt.engine.messages import (
    Abort,
    Add,
    Embed,
    Events,
    Failed,
    Failure,
    FromEngine,
    Ready,
    Start,
    from_frame,
    to_frame,
)
from pandagpt.engine.request import Event
from pandagpt.engine.watchdog import Watchdog
from pandagpt.engine.worker import Worker
from pandagpt.errors import OperatorError, PandaError
from pandagpt.frames import receive, send
from pandagpt.model.device import Placement, choose, free_memory
from pandagpt.model.loader import load_model
from pandagpt.model.pandagpt import PandaGPT

WARM_UP_TIMEOUT_SECONDS = 600
HUNG = 3
"""The exit code of a process whose step took too long."""


class EngineServer:
    """Loads what `start` says on a thread, while the main thread waits for the other side."""

    def __init__(self, channel: socket.socket, start: Start) -> None:
        self._channel = channel
        self._start = start
        self._worker: Worker | None = None

    def run(self) -> None:
        """Returns when the other side has gone."""
        threading.Thread(target=self._load, name="engine-load", daemon=True).start()
        while (frame := receive(self._channel)) is not None:
            message = from_frame(frame)
            assert self._worker, "nothing is asked of an engine that is not ready"
            assert isinstance(message, Add | Embed | Abort)
            self._worker.put(message)
            # Their media must not stay until the next message comes.
            del frame, message

    def _load(self) -> None:
        try:
            ready = self._start_worker()
        except PandaError as error:
            self._fail(error)
        except Exception:
            logs.get_logger().exception("engine_did_not_start")
            self._fail(OperatorError("the engine did not start; the log says why"))
        else:
            self._send(ready)

    def _start_worker(self) -> Ready:
        start = self._start
        place = choose(
            start.device, start.dtype, start.quantization, captures=not start.enforce_eager
        )
        model = load_model(Path(start.folder), place, start.variants)
        capacity = self._capacity(model, place)
        config = start.config.with_rows(capacity.rows)
        config = config.on(place.device, start.max_step_tokens, start.max_step_seconds)
        self._worker = Worker(model, config, self._post, partial(_leave, 1), self._send)
        self._worker.start()
        if not self._worker.wait_until_ready(WARM_UP_TIMEOUT_SECONDS):
            raise OperatorError("the engine did not start; the log says why")
        if seconds := config.step_timeout_seconds:
            Watchdog(self._worker.watches, seconds, partial(_leave, HUNG)).start()
        faults.plan(start.faults)
        return Ready(capacity.max_model_len, capacity.rows, _hardware(place, config), str(capacity))

    def _capacity(self, model: PandaGPT, place: Placement) -> Capacity:
        """Once the weights are in memory."""
        return Capacity.fitting(
            place.device,
            self._start.max_rows,
            self._start.config.max_model_len or model.max_model_len,
            model.llama.kv_bytes_per_token,
            free_memory(place.device),
        )

    def _post(self, events: list[Event]) -> None:
        self._send(Events.of(events))

    def _fail(self, error: PandaError) -> None:
        self._send(Failed(Failure.of(error)))
        _leave(1)

    def _send(self, message: FromEngine) -> None:
        try:
            send(self._channel, to_frame(message))
        except OSError:
            _leave(0)


def _hardware(place: Placement, config: EngineConfig) -> str:
    number = config.num_threads
    threads = "1 thread" if number == 1 else f"{number} threads"
    return f"{place.device}, {threads}, {place}, {config.max_step_tokens} tokens a step"


def _leave(code: int) -> None:
    """At once, from any thread: nothing here needs an orderly end."""
    os._exit(code)


def main(descriptor: int) -> None:
    leave_signals_to_parent()
    channel = socket.socket(fileno=descriptor)
    frame = receive(channel)
    start = from_frame(frame) if frame else None
    if isinstance(start, Start):
        logs.configure(start.log_format)
        EngineServer(channel, start).run()
    _leave(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
