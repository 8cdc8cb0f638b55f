"""Whether the time of a refusal tells how much of a key was guessed.

    python -m tests.bench.key_timing [--rounds 300]

Wrong keys that begin as the right one and wrong keys that do not take turns at random. Prints the
medians, and how often the one kind takes longer than the other: half of the times, if time tells
nothing.
"""

import argparse
import random
import statistics
import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from tests.bench import process

KEY = "sk-9f4c2b7ad15e4f0c8e6b3a2d1c0f9e8d7c6b5a49"
NEAR, FAR = KEY[:-1] + "x", "x" + KEY[1:]
# Of so many pairs of chance alone, a hundred thousand runs of 300 and 300 do not leave this.
MAX_SHARE = 0.12


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of refusals."""

    near: list[float]
    far: list[float]

    @property
    def share(self) -> float:
        """Of all pairs, those in which the near key took longer: no spread of times, however
        odd, moves it from one half, only a difference between the two does."""
        far = sorted(self.far)
        longer = (bisect_left(far, value) + bisect_right(far, value) for value in self.near)
        return sum(longer) / (2 * len(self.near) * len(far))

    @property
    def tells(self) -> bool:
        return abs(self.share - 0.5) > MAX_SHARE

    def __str__(self) -> str:
        near, far = (1e6 * statistics.median(each) for each in (self.near, self.far))
        return (
            f"{len(self.near)} + {len(self.far)} refusals, medians {near:.0f} us (near) and "
            f"{far:.0f} us (far); near takes longer in {self.share:.1%} of the pairs"
        )


def measure(url: str, rounds: int, seed: int = 1) -> Timing:
    lot = random.Random(seed)
    timing = Timing([], [])
    with httpx.Client(base_url=url) as client:
        for _ in range(rounds):
            for key in lot.sample((NEAR, FAR), 2):
                seconds = _refusal_seconds(client, key)
                (timing.near if key == NEAR else timing.far).append(seconds)
    return timing


def _refusal_seconds(client: httpx.Client, key: str) -> float:
    started_at = time.perf_counter()
    response = client.get("/v1/models", headers={"authorization": f"Bearer {key}"})
    seconds = time.perf_counter() - started_at
    assert response.status_code == 401
    return seconds


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    rounds = parser.parse_args(arguments).rounds
    with process.pandagpt("tiny", "--api-key", KEY) as server:
        print(f"{process.machine()}; {process.others()}")
        measure(server.url, 50)
        print(measure(server.url, rounds))


if __name__ == "__main__":
    main()
