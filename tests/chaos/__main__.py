"""`python -m tests.chaos [--seconds N] [--seed N]`, or one trouble alone: a server in trouble.

Prints how much was answered right, and whatever was wrong: any of that ends with status 1.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.chaos.disconnects import disconnects
from tests.chaos.restarts import restarts
from tests.chaos.run import chaos, kills
from tests.chaos.target import known_answers
from tests.chaos.troubles import DENSE_SECONDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--servers", type=int, default=1, help="clients go to the next for repeats")
    parser.add_argument(
        "--trouble-seconds", type=float, default=DENSE_SECONDS, help="mean time between two"
    )
    alone = parser.add_mutually_exclusive_group()
    alone.add_argument("--kills", type=int, help="kill the engine so often")
    alone.add_argument("--restarts", type=int, help="end the server so often, and start it again")
    alone.add_argument("--disconnects", type=int, help="so many clients leave at any moment")
    arguments = parser.parse_args()
    known = known_answers()
    if arguments.kills:
        report, seconds = kills(arguments.kills, known)
        print(f"ready again after {_spread(seconds)}")
    elif arguments.restarts:
        report, seconds = restarts(arguments.restarts, known)
        print(f"ended after {_spread(seconds)}")
    elif arguments.disconnects:
        with TemporaryDirectory() as folder:
            report, moments, took = disconnects(arguments.disconnects, known, Path(folder))
        print(", ".join(f"{name} {count}" for name, count in sorted(moments.items())))
        print(f"nothing in the engine {took:.1f} s after the last")
    else:
        pace = arguments.trouble_seconds
        report = chaos(arguments.seconds, arguments.seed, known, pace, arguments.servers)
        print(", ".join(f"{name} {count}" for name, count in sorted(report.troubles.items())))
    print(report)
    sys.exit(not report.is_good)


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.1f} s (median), {max(seconds):.1f} s (longest)"


if __name__ == "__main__":
    main()
