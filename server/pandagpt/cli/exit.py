"""How a command ends badly: one line for the operator and an exit code that scripts see."""

import sys
from typing import NoReturn

USAGE_ERROR = 2


class OperatorError(Exception):
    """Wrong usage or surroundings; the message is one line that says what to do."""


def fail(message: str, code: int = 1) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
