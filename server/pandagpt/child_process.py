"""How a module of this package gets a process of its own, which speaks by what it inherits.

`start_module` is for the parent, the rest for the child.
"""

import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress

from pandagpt.frames import open_channel

STDERR = 2


def start_module(
    module: str, *descriptors: int, environment: Mapping[str, str] | None = None
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """And this end of a channel to it. In a session of its own: Ctrl-C is for the server alone,
    which then drains.

    Its arguments are the other end's descriptor, then the given ones; `environment` is added to
    this process's own.
    """
    ours, theirs = open_channel()
    with theirs:
        inherited = (theirs.fileno(), *descriptors)
        # -P: as for the command `pandagpt`, modules in the current folder count for nothing.
        command = [sys.executable, "-P", "-m", module, *map(str, inherited)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=STDERR,
            pass_fds=inherited,
            start_new_session=True,
            env=os.environ | (environment or {}),
        )
    return process, ours


def leave_signals_to_parent() -> None:
    """Which says itself when it is over, or closes its end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def limit(what: int, soft: int, hard: int | None = None) -> None:
    """`what` is one of resource.RLIMIT_*."""
    # Not every system has every limit; the others still hold.
    with suppress(ValueError, OSError):
        resource.setrlimit(what, (soft, soft if hard is None else hard))
