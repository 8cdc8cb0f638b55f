"""What hangs is noticed: by a thread of Python, and by `faulthandler` where no Python runs."""

import subprocess
import sys
import threading
import time

import pytest

from pandagpt.engine.watchdog import Watch, Watchdog

SECONDS = 0.4


def given_up(*watches: Watch, seconds: float = SECONDS, wait_seconds: float = 5) -> bool:
    has_given_up = threading.Event()
    watchdog = Watchdog(watches, seconds, has_given_up.set)
    watchdog.start()
    result = has_given_up.wait(wait_seconds)
    watchdog.close()
    return result


def test_work_that_hangs(capfd: pytest.CaptureFixture[str]) -> None:
    idle, busy = Watch("idle"), Watch("busy")
    busy.begin()
    started_at = time.monotonic()
    assert given_up(idle, busy)
    assert SECONDS < time.monotonic() - started_at < SECONDS + 2
    assert "watchdog" in capfd.readouterr().err


def test_idleness_and_patience() -> None:
    ended, patient = Watch("ended"), Watch("patient", patience=100)
    ended.begin()
    ended.end()
    patient.begin()
    assert not given_up(ended, patient, wait_seconds=3 * SECONDS)


HOLDS_THE_LOCK = """
import ctypes
from pandagpt.engine.watchdog import Watchdog
Watchdog([], 0.4, lambda: None).start()
ctypes.PyDLL(None).sleep(60)
"""


def test_a_thread_that_holds_the_interpreter() -> None:
    command = [sys.executable, "-c", HOLDS_THE_LOCK]
    started_at = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert time.monotonic() - started_at < 20
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert "line 5" in done.stderr


def test_a_step_is_hardly_slower_for_it() -> None:
    watch = Watch("engine")
    started_at = time.perf_counter()
    for _ in range(1000):
        watch.begin()
        watch.end()
    assert time.perf_counter() - started_at < 0.05
