"""The link to an engine in a process of its own, from its start to its end.

They speak over a private pair of sockets, so neither waits for the other's Python. A thread
writes, because a film's array is too large to be taken at once; another waits for the process's
end. What comes back is small and is read on the event loop. `__main__` is the other side.
"""

import asyncio
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

from pandagpt.child_process import start_module
from pandagpt.engine.client import Deliver
from pandagpt.engine.heartbeat import Heartbeat
from pandagpt.engine.messages import (
    Abort,
    Add,
    Embed,
    Events,
    Failed,
    Ready,
    Start,
    from_frame,
    to_frame,
)
from pandagpt.engine.stats import Stats
from pandagpt.errors import OperatorError
from pandagpt.frames import Frame, FrameFeed, receive, send
from pandagpt.logs import get_logger

log = get_logger()

READ_BYTES = 1 << 18
EXIT_SECONDS = 5.0


class EngineProcess:
    """`attach` and what it leads to belong to one event loop; the rest to any thread."""

    def __init__(self, start: Start, on_loss: Callable[[], None] = lambda: None) -> None:
        """Returns at once, while the process imports and loads. To be closed in any case.

        `on_loss`, on a thread of its own: the process was ready, and has ended unasked.
        """
        self.is_open = False
        self.is_restarting = False
        self.max_model_len = 0
        self._process, self._socket = start_module("pandagpt.engine")
        self._on_loss = on_loss
        self._is_closing = False
        self._is_released = False
        self._outbox: SimpleQueue[Frame | None] = SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="engine-write", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name="engine-watch", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deliver: Deliver | None = None
        self._on_end: Callable[[], None] | None = None
        self._feed = FrameFeed()
        self._timeout_seconds = start.config.step_timeout_seconds
        self._heartbeat = Heartbeat(self._timeout_seconds, self._end_silence)
        with suppress(OSError):  # it has ended already; `wait_until_ready` tells
            send(self._socket, to_frame(start))

    def wait_until_ready(self) -> Ready:
        """Raises the CheckpointError or OperatorError that the process has met."""
        frame = receive(self._socket)
        message = from_frame(frame) if frame else None
        if isinstance(message, Failed):
            raise message.failure.error
        if not isinstance(message, Ready):
            code = self._process.wait()
            raise OperatorError(f"the engine's process ended while it started (exit code {code})")
        self.max_model_len = message.max_model_len
        self.is_open = True
        self._writer.start()
        self._watcher.start()
        return message

    def attach(
        self, loop: asyncio.AbstractEventLoop, deliver: Deliver, ended: Callable[[], None]
    ) -> None:
        if self._is_released:
            loop.call_soon(ended)
            return
        if self._loop and not self._loop.is_closed():
            self._loop.remove_reader(self._socket.fileno())
        self._loop, self._deliver, self._on_end = loop, deliver, ended
        loop.add_reader(self._socket.fileno(), self._read)
        self._heartbeat.listen(loop)

    def send(self, message: Add | Embed | Abort) -> None:
        self._outbox.put(to_frame(message))

    def close(self) -> None:
        """Ends the process, which exits when its socket closes."""
        self._is_closing = True
        self.is_open = False
        self._shut_down()
        try:
            self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._release_on_loop()

    # -- on threads of its own

    def _write(self) -> None:
        while (frame := self._outbox.get()) is not None:
            try:
                send(self._socket, frame)
            except OSError:
                # The process has ended, or else it must: half a frame cannot be mended.
                self._shut_down()
                return
            # Its media must not stay until the next frame comes.
            del frame

    def _watch(self) -> None:
        code = self._process.wait()
        self.is_open = False
        if not self._is_closing:
            log.error("engine_process_ended", exit_code=code)
            self._on_loss()

    # -- on the event loop

    def _read(self) -> None:
        assert self._deliver
        try:
            data = self._socket.recv(READ_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._heartbeat.heard()
        for frame in self._feed.feed(data):
            message = from_frame(frame)
            assert isinstance(message, Events | Stats), "a ready engine sends nothing else"
            self._deliver(message)
        if not data:
            self._release()

    def _end_silence(self) -> None:
        """It is stopped, or stuck where its own watchdog does not look."""
        log.error("engine_is_silent", timeout_seconds=self._timeout_seconds)
        self._process.kill()

    def _release_on_loop(self) -> None:
        if self._loop is None:
            self._release()
            return
        try:
            self._loop.call_soon_threadsafe(self._release)
        except RuntimeError:  # the event loop is closed
            self._release()

    def _release(self) -> None:
        """The end, seen on the socket or wanted by `close`: whichever comes first."""
        if self._is_released:
            return
        self._is_released = True
        self.is_open = False
        self._heartbeat.stop()
        if self._loop and not self._loop.is_closed():
            self._loop.remove_reader(self._socket.fileno())
        self._shut_down()
        self._outbox.put(None)
        if self._writer.is_alive():
            self._writer.join()
        self._socket.close()
        if self._on_end:
            self._on_end()

    def _shut_down(self) -> None:
        with suppress(OSError):  # the process has closed its end first
            self._socket.shutdown(socket.SHUT_RDWR)
