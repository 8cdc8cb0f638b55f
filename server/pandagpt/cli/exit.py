"""How a command ends badly: one line for the operator and an exit code that scripts see."""

import os
import sys
from typing import NoReturn

USAGE_ERROR = 2
SIGNALLED = 128
"""A shell adds to it the number of the signal that ended a program."""
INTERRUPTED = SIGNALLED + 2


def fail(message: str, code: int = 1) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def leave(code: int) -> NoReturn:
    """At once: a thread that still imports torch would abort the interpreter's own way out."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
