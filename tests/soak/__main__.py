"""`python -m tests.soak [--requests N]`: a server must hold after N requests what it held before.

A tenth of them is broken, a fifth carries media, some clients leave early. Ends with status 1 if
memory, open files or time have grown, or if an answer was wrong.
"""

import argparse
import sys
from functools import partial

from tests.soak.judge import Bounds, complaints
from tests.soak.run import soak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--faults", default="", help="such as step=leak%%20: is it noticed?")
    arguments = parser.parse_args()
    result = soak(arguments.requests, arguments.faults, partial(print, flush=True))
    found = [*complaints(result.samples, Bounds()), *result.wrong]
    print("\n".join(found) or "nothing has grown, all answers were right")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
