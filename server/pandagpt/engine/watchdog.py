"""Work that takes too long: what each thread is at, since when; and the end of what hangs.

A thread of Python looks once a second. Where a thread hangs with the interpreter's lock, so that
no Python runs any more, `faulthandler` ends the process, which needs no lock. Both print where
every thread stands.
"""

import faulthandler
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from pandagpt.logs import get_logger

log = get_logger()

TICK_SECONDS = 1.0
STDERR = 2


def tick_seconds(timeout_seconds: float) -> float:
    """How often to look, or to give a sign of life, so that the time is kept; 0 is no time."""
    return min(TICK_SECONDS, timeout_seconds / 4) or TICK_SECONDS


@dataclass(slots=True)
class Watch:
    """One thread's work, piece after piece; beginning one costs no more than reading a clock.

    A piece may take `patience` times as long as a step.
    """

    name: str
    patience: float = 1.0
    since: float = math.inf

    def begin(self) -> None:
        self.since = monotonic()

    def end(self) -> None:
        self.since = math.inf


class Watchdog:
    """`give_up` is called on a thread of its own when a piece of work takes too long."""

    def __init__(
        self, watches: Sequence[Watch], seconds: float, give_up: Callable[[], None]
    ) -> None:
        self._watches = watches
        self._seconds = seconds
        self._give_up = give_up
        self._tick_seconds = tick_seconds(seconds)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        backstop_seconds = self._seconds + 2 * self._tick_seconds
        while not self._closing.is_set():
            faulthandler.dump_traceback_later(backstop_seconds, exit=True, file=STDERR)
            self._closing.wait(self._tick_seconds)
            if hanging := [watch.name for watch in self._watches if self._is_overdue(watch)]:
                log.error("engine_hangs", threads=hanging, timeout_seconds=self._seconds)
                faulthandler.dump_traceback(STDERR)
                self._give_up()
                break
        faulthandler.cancel_dump_traceback_later()

    def _is_overdue(self, watch: Watch) -> bool:
        return monotonic() - watch.since > self._seconds * watch.patience
