"""`python -m tests.fuzz [--cases N] [--first N] [--url URL]`: broken requests at a live server.

Without a URL a server of the bundled model is started. Prints each wrong answer with its case's
number; `--first N --cases 1` runs it again.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.bench.process import pandagpt
from tests.fuzz.cases import case
from tests.fuzz.check import check

NUM_CLIENTS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--url")
    arguments = parser.parse_args()
    numbers = range(arguments.first, arguments.first + arguments.cases)
    if arguments.url:
        sys.exit(run(arguments.url, numbers) > 0)
    with pandagpt("tiny") as server:
        sys.exit(run(server.url, numbers) > 0)


def run(url: str, numbers: range) -> int:
    """How many were answered wrongly."""
    num_wrong = 0
    with httpx.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(NUM_CLIENTS) as pool:
        answers = pool.map(lambda number: (number, check(client, case(number))), numbers)
        for done, (number, wrong) in enumerate(answers, 1):
            if wrong:
                num_wrong += 1
                print(f"case {number} ({case(number).path}): {wrong}", flush=True)
            if done % 1000 == 0 or done == len(numbers):
                print(f"{done} cases, {num_wrong} answered wrongly", flush=True)
        assert client.get("/ready").status_code == 200, "the server is not ready any more"
    return num_wrong


if __name__ == "__main__":
    main()
