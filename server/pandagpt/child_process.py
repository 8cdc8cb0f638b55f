"""How a module of this package gets a process of its own, which speaks by what it inherits."""

import os
import subprocess
import sys
from collections.abc import Mapping

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
