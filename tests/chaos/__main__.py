"""`python -m tests.chaos [--seconds N] [--seed N]`, or `--kills N`: a server in trouble.

Prints how much was answered right, and whatever was wrong: any of that ends with status 1.
"""

import argparse
import statistics
import sys

from tests.chaos.run import chaos, kills, known_answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, help="kill the engine so often, and nothing else")
    arguments = parser.parse_args()
    known = known_answers()
    if arguments.kills:
        report, seconds = kills(arguments.kills, known)
        middle, most = statistics.median(seconds), max(seconds)
        print(f"ready again after {middle:.1f} s (median), {most:.1f} s (longest)")
    else:
        report, troubles = chaos(arguments.seconds, arguments.seed, known)
        print(", ".join(f"{name} {count}" for name, count in sorted(troubles.happened.items())))
    print(report)
    sys.exit(not report.is_good)


if __name__ == "__main__":
    main()
