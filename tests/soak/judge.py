"""Whether a server holds what it held before: samples of parts of a run in, complaints out."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """After one part of the run, when nothing was at work."""

    memory_bytes: int
    num_files: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of memory at the end to memory in the middle; of the last part's pace to the first's."""

    max_growth: float = 0.02
    min_pace: float = 0.98


def complaints(samples: Sequence[Sample], bounds: Bounds) -> list[str]:
    """Caches fill and libraries allocate in the first half: it is the second that must be flat."""
    first, middle, last = samples[0], samples[len(samples) // 2 - 1], samples[-1]
    found = []
    growth = last.memory_bytes / middle.memory_bytes - 1
    if growth > bounds.max_growth:
        found.append(f"memory grew by {growth:.1%} in the second half")
    if last.num_files > middle.num_files:
        found.append(f"open files grew from {middle.num_files} to {last.num_files}")
    # The first part also meets everything for the first time, so a good pace is higher later.
    pace = first.seconds / last.seconds
    if pace < bounds.min_pace:
        found.append(f"the last part was served at {pace:.0%} of the first one's pace")
    return found
