"""How a module of this package gets a process of its own, which speaks by what it inherits.

`start_module` is for the parent, the rest for the child.
"""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress

STDERR = 2


def start_module(
    module: str, *descriptors: int, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """In a session of its own: Ctrl-C is for the server alone, which then drains.

    The descriptors are its arguments; `environment` is added to this process's own.
    """
    # -P: as for the command `pandagpt`, modules in the current folder count for nothing.
    command = [sys.executable, "-P", "-m", module, *map(str, descriptors)]
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=STDERR,
        pass_fds=descriptors,
        start_new_session=True,
        env=os.environ | (environment or {}),
    )


def leave_signals_to_parent() -> None:
    """Which says itself when it is over, or closes its end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def limit(what: int, soft: int, hard: int | None = None) -> None:
    """`what` is one of resource.RLIMIT_*."""
    # Not every system has every limit; the others still hold.
    with suppress(ValueError, OSError):
        resource.setrlimit(what, (soft, soft if hard is None else hard))
