"""Motion: three forms of the same numbers, resampling, refusals."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandagpt.errors import InvalidMedia, MediaTooLarge, UnsupportedValue
from pandagpt.media import imu
from pandagpt.media.limits import MediaLimits
from pandagpt.media.options import MediaOptions
from tests.media.made import npy

HEADER = "ax,ay,az,gx,gy,gz\n"


def load(data: bytes, limits: MediaLimits | None = None, **options: Any) -> np.ndarray:
    return imu.load(data, MediaOptions(**options), limits or MediaLimits())


def csv(rows: np.ndarray, mark: str = ",") -> bytes:
    return "\n".join(mark.join(map(repr, row)) for row in rows.tolist()).encode()


def rows(num: int = 50) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(num, 6))


def test_the_forms_of_the_same_numbers_are_identical() -> None:
    wanted = load(npy(rows()), sample_rate_hz=123)
    for data in [
        csv(rows()),
        csv(rows(), ";"),
        csv(rows(), "\t"),
        HEADER.encode() + csv(rows()),
        b"\xef\xbb\xbf" + HEADER.encode() + csv(rows()).replace(b"\n", b"\r\n") + b"\r\n",
        json.dumps(rows().tolist()).encode(),
        json.dumps({"data": rows().tolist()}).encode(),
        json.dumps({"data": rows().tolist(), "sample_rate": 50}).encode(),
        npy(rows().astype(np.float32)),
        npy(rows().astype(">f8")),
        npy(np.asfortranarray(rows())),
    ]:
        assert np.array_equal(load(data, sample_rate_hz=123), wanted)


def test_the_rate_stated_in_json_counts_where_none_is_given() -> None:
    data = json.dumps({"data": rows().tolist(), "sample_rate": 50}).encode()
    assert np.array_equal(load(data), load(npy(rows()), sample_rate_hz=50))
    assert not np.array_equal(load(data), load(npy(rows())))


def test_200_hz_is_taken_as_it_is_and_filled_with_zeros() -> None:
    window = load(npy(rows(300)))
    assert window.shape == (6, 2000)
    assert window.dtype == np.float32
    assert np.array_equal(window[:, :300], rows(300).T.astype(np.float32))
    assert not window[:, 300:].any()


def test_long_recordings_are_cut_at_ten_seconds() -> None:
    assert np.array_equal(load(npy(rows(2500))), load(npy(rows(2000))))


@pytest.mark.parametrize("rate_hz", [25.0, 100.0, 400.0, 1000.0])
def test_a_ramp_stays_a_ramp(rate_hz: float) -> None:
    num = int(5 * rate_hz)
    ramp = np.repeat((np.arange(num) / rate_hz)[:, None], 6, axis=1)
    window = load(npy(ramp), sample_rate_hz=rate_hz)
    num_steps = int((num - 1) * 200 / rate_hz) + 1
    assert np.allclose(window[0, :num_steps], np.arange(num_steps) / 200, atol=1e-5)
    assert not window[:, num_steps:].any()


def test_columns_are_put_in_order_by_their_names() -> None:
    data = b"gx,gy,gz,ax,ay,az\n1,2,3,4,5,6"
    assert load(data)[:, 0].tolist() == [4, 5, 6, 1, 2, 3]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        HEADER.encode(),
        b"1,2,3,4,5",
        b"1,2,3,4,5,6,7",
        b"1,2,3,4,5,6\n1,2,3,4,5",
        b"1,2,3,4,5,6\n1,2,3,4,5,x",
        b"1,2,3,4,5,nan",
        b"1,2,3,4,5,inf",
        b"1,2,3,4,5,1e300",
        b"1,2,3,4,5,6\n\xff\xfe",
        b"[]",
        b"{}",
        b"[1,2,3,4,5,6]",
        b"[[1,2,3,4,5,true]]",
        b'[[1,2,3,4,5,"6"]]',
        b"[[1,2,3,4,5,NaN]]",
        b"[[1,2,3,4,5,1e999]]",
        b"[[1,2,3,4,5,1" + b"0" * 400 + b"]]",
        b"[[1,2,3,4,5,1" + b"0" * 5000 + b"]]",
        b'{"data": [[1,2,3,4,5,6]], "sample_rate": "fast"}',
        b'{"data": [[1,2,3,4,5,6]], "sample_rate": -1}',
        b'{"data": [[1,2,3,4,5,6]], "sample_rate": 1' + b"0" * 400 + b"}",
        b"[" * 100_000,
        b"\x93NUMPY",
        npy(np.zeros(6)),
        npy(np.zeros((5, 7))),
        npy(np.zeros((0, 6))),
        npy(np.full((5, 6), np.nan)),
        npy(np.zeros((5, 6), np.complex128)),
        npy(np.zeros((5, 6)))[:-8],
        npy(np.zeros((5, 6))) + b"\0",
    ],
    ids=lambda data: repr(data[:24]),
)
def test_refusals(data: bytes) -> None:
    with pytest.raises(InvalidMedia):
        load(data)


@pytest.mark.parametrize(
    "shape", ["(9999999999999, 6)", "(-1, 6)", "(2.0, 6)", "[5, 6]", "(1" + "0" * 3000 + ",)"]
)
def test_npy_headers_cannot_ask_for_memory(shape: str) -> None:
    head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    data = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(240)
    with pytest.raises(InvalidMedia):
        load(data)


def test_pickles_are_never_read() -> None:
    head = b"{'descr': '|O', 'fortran_order': False, 'shape': (5, 6), }\n"
    data = (
        b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + b"cos\nsystem\n(S'x'\ntR."
    )
    with pytest.raises(InvalidMedia, match="plain numbers"):
        load(data)


@pytest.mark.parametrize("text", ["1," * 5000, "0,0\n" * 5000, "[" + "[]," * 5000 + "[]]"])
def test_numbers_are_counted_before_they_are_read(text: str) -> None:
    with pytest.raises(MediaTooLarge, match="far more numbers than the 99 rows"):
        load(text.encode(), MediaLimits(max_imu_rows=99))


def test_json_may_be_written_out() -> None:
    """One number a line, as `indent` does."""
    text = json.dumps(rows(50).tolist(), indent=2)
    assert np.array_equal(load(text.encode(), MediaLimits(max_imu_rows=50)), load(csv(rows(50))))


@pytest.mark.parametrize(
    "data", [csv(rows(11)), json.dumps(rows(11).tolist()).encode(), npy(rows(11))]
)
def test_row_limit(data: bytes) -> None:
    with pytest.raises(MediaTooLarge, match="11 rows; at most 9"):
        load(data, MediaLimits(max_imu_rows=9))


def test_formats_said_must_be_those_found() -> None:
    assert np.array_equal(load(csv(rows()), format="csv"), load(csv(rows())))
    with pytest.raises(InvalidMedia, match=r"Expected JSON.*found a table"):
        load(csv(rows()), format="json")
    with pytest.raises(UnsupportedValue):
        load(csv(rows()), format="xml")


@pytest.mark.parametrize("rate_hz", [0.5, 1e6])
def test_odd_rates_are_refused(rate_hz: float) -> None:
    with pytest.raises(InvalidMedia, match="Hz"):
        load(csv(rows()), sample_rate_hz=rate_hz)


SEEDS = [csv(rows(4)), json.dumps({"data": rows(4).tolist()}).encode(), npy(rows(4))]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SEEDS), st.integers(0, 150), st.binary(min_size=1, max_size=8))
def test_damage_gives_numbers_or_our_error(seed: bytes, at: int, damage: bytes) -> None:
    try:
        window = load(seed[:at] + damage + seed[at + len(damage) :])
    except (InvalidMedia, MediaTooLarge):
        return
    assert window.shape == (6, 2000)
    assert np.isfinite(window).all()
