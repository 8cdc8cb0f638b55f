"""Rows by memory: what fits, what was asked for, and never none."""

from pandagpt.engine.capacity import Capacity

GIB = 2**30
SEVEN_B = 512 * 1024  # bytes of a token's keys and values, in half precision


def rows(device: str, wanted: int | None, free_bytes: int) -> int:
    return Capacity.fitting(device, wanted, 2048, SEVEN_B, free_bytes).rows


def test_a_large_model_gets_the_rows_that_fit() -> None:
    assert rows("cpu", None, 10 * GIB) == 5
    assert rows("cuda", None, 100 * GIB) == 85


def test_a_small_one_gets_what_pays_or_what_is_asked_for() -> None:
    assert rows("cpu", None, 1000 * GIB) == 32
    assert rows("cuda", None, 1000 * GIB) == 128
    assert rows("cpu", 100, 1000 * GIB) == 100
    assert rows("cpu", 4, 1000 * GIB) == 4


def test_what_is_asked_for_must_fit_too() -> None:
    assert rows("cpu", 32, 10 * GIB) == 5


def test_one_row_is_always_tried() -> None:
    assert rows("cpu", None, 0) == 1


def test_the_operator_is_told_in_one_line() -> None:
    told = str(Capacity(4, 2048, SEVEN_B))
    assert told == "4 rows x 2048 tokens = 8192 tokens, 4096 MiB when full"
