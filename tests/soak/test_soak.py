"""The judge of the soak, who must be able to find something; and a short one of `make soak`."""

import pytest

from tests.soak.judge import Bounds, Sample, complaints
from tests.soak.run import soak

MEGABYTE = 1_000_000
# In so few requests caches are not full yet, and others use this machine.
SHORT = Bounds(max_growth=0.2, min_pace=0)


def samples(*megabytes: int, files: int = 30, last_files: int = 30) -> list[Sample]:
    found = [Sample(size * MEGABYTE, files, 1.0) for size in megabytes]
    return [*found[:-1], Sample(found[-1].memory_bytes, last_files, 1.0)]


def test_what_grew_at_first_may_stay() -> None:
    assert complaints(samples(100, 300, 400, 400, 400, 401), Bounds()) == []


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (samples(100, 110, 120, 130, 140, 150), "memory grew by 25.0%"),
        (samples(100, 100, 100, 100, 100, 103), "memory grew by 3.0%"),
        (samples(100, 100, 100, 100, last_files=31), "open files grew from 30 to 31"),
        ([Sample(1, 1, 1.0), Sample(1, 1, 1.0), Sample(1, 1, 1.1)], "91% of the first"),
    ],
)
def test_what_grows_is_found(run: list[Sample], words: str) -> None:
    (found,) = complaints(run, Bounds())
    assert words in found


def test_three_hundred_requests() -> None:
    result = soak(300)
    assert not result.wrong
    assert not complaints(result.samples, SHORT)


def test_a_leak_is_found() -> None:
    result = soak(40, "step=leak%1,step=leak%1,step=leak%1")
    assert not result.wrong
    (found,) = complaints(result.samples, SHORT)
    assert "memory grew" in found
