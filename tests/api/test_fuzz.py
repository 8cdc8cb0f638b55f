"""A thousand broken requests at a live server; `make fuzz` sends as many as one likes."""

import httpx
import pytest

from tests.fuzz.cases import case
from tests.fuzz.check import check

NUM_CASES = 1000
BATCH = 100


@pytest.mark.parametrize("first", range(0, NUM_CASES, BATCH))
def test_broken_requests(live: httpx.Client, first: int) -> None:
    wrong = {number: check(live, case(number)) for number in range(first, first + BATCH)}
    assert not {number: what for number, what in wrong.items() if what}
    assert live.get("/ready").status_code == 200


def test_cases_are_functions_of_their_number() -> None:
    assert case(17) == case(17)
    assert len({case(number).body for number in range(200)}) > 150
