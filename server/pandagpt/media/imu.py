"""Motion: rows of accelerometer and gyroscope in, [6, 2000] at 200 Hz out.

No loader was ever published. The order (acceleration, then rotation), the 200 Hz and the
zeros at the end are those of IMU2CLIP, by the same group; units are Ego4D's, m/s² with
gravity and rad/s.
"""

import json
from collections.abc import Callable
from typing import NoReturn

import numpy as np

from pandagpt.errors import InvalidMedia, MediaTooLarge, UnsupportedValue
from pandagpt.media.limits import MediaLimits
from pandagpt.media.npy import read_npy
from pandagpt.media.options import MediaOptions
from pandagpt.media.sniff import CSV, JSON, NPY, Kind, expect

COLUMNS = ("ax", "ay", "az", "gx", "gy", "gz")
SAMPLE_RATE_HZ = 200.0
NUM_STEPS = 2000
RATE_RANGE_HZ = (1.0, 100_000.0)
# Raw 16-bit counts still fit; beyond it the encoder's float16 sums would not.
_MAX_VALUE = 1e5
# What separates cells and rows. A row of JSON has six commas and a bracket; twice that is
# let through, for blank lines and the like.
_MARKS = (b",", b";", b"\t", b"\r", b"\n", b"[", b"{")
_MARKS_PER_ROW = 16


def load(data: bytes, options: MediaOptions, limits: MediaLimits) -> np.ndarray:
    kind = _kind(data, options)
    if kind is not NPY:
        _check_num_cells(data, limits)
    rows, stated_rate_hz = _READERS[kind](data, limits)
    rows_N6 = _check_rows(rows, limits)
    return imu_array(rows_N6, options.sample_rate_hz or stated_rate_hz or SAMPLE_RATE_HZ)


def imu_array(rows_N6: np.ndarray, rate_hz: float = SAMPLE_RATE_HZ) -> np.ndarray:
    """Samples x 6 columns -> float32 [6, 2000]: linear to 200 Hz, cut, or zeros at the end."""
    low, high = RATE_RANGE_HZ
    if not low <= rate_hz <= high:
        raise InvalidMedia(
            f"The IMU's sample rate is {rate_hz:g} Hz; {low:g} to {high:g} are read."
        )
    num_rows = len(rows_N6)
    num_steps = min(int((num_rows - 1) * SAMPLE_RATE_HZ / rate_hz) + 1, NUM_STEPS)
    at = np.arange(num_steps) * (rate_hz / SAMPLE_RATE_HZ)
    window = np.zeros((len(COLUMNS), NUM_STEPS), np.float32)
    for channel, column in zip(window, rows_N6.T, strict=True):
        channel[:num_steps] = np.interp(at, np.arange(num_rows), column)
    return window


def _kind(data: bytes, options: MediaOptions) -> Kind:
    found = expect(data, ("table",), "an IMU recording (csv, json or npy)")
    if options.format is None:
        return found
    if options.format not in _FORMATS:
        raise UnsupportedValue('IMU format must be "csv", "json" or "npy"', "format")
    wanted = _FORMATS[options.format]
    if wanted is not found:
        raise InvalidMedia(f"Expected {wanted.name}, found {found.name}.")
    return wanted


def _check_rows(rows: np.ndarray, limits: MediaLimits) -> np.ndarray:
    if rows.ndim != 2 or rows.shape[1] != len(COLUMNS) or not len(rows):
        raise InvalidMedia(
            f"The IMU recording has shape {list(rows.shape)}; [samples, 6] with columns "
            f"{', '.join(COLUMNS)} is needed, one row or more."
        )
    _check_num_rows(len(rows), limits)
    # One precision for all forms, before any arithmetic, makes their results identical.
    with np.errstate(over="ignore"):
        rows = rows.astype(np.float32)
    if not (np.abs(rows) <= _MAX_VALUE).all():
        raise InvalidMedia(
            f"The IMU recording holds values that are not finite or beyond {_MAX_VALUE:g}. "
            "Send m/s² and rad/s, and leave out missing samples."
        )
    return rows


def _check_num_cells(text: bytes, limits: MediaLimits) -> None:
    """Before text is split: 32 MB of commas and brackets would become gigabytes of objects."""
    num_cells = sum(text.count(mark) for mark in _MARKS)
    if num_cells > _MARKS_PER_ROW * (limits.max_imu_rows + 2):
        raise MediaTooLarge(
            f"The IMU recording has far more numbers than the {limits.max_imu_rows} rows of six "
            "that are allowed. Cut it: the model sees ten seconds."
        )


def _check_num_rows(num_rows: int, limits: MediaLimits) -> None:
    if num_rows > limits.max_imu_rows:
        raise MediaTooLarge(
            f"The IMU recording has {num_rows} rows; at most {limits.max_imu_rows} are allowed. "
            "Cut it: the model sees ten seconds."
        )


def _read_npy(data: bytes, limits: MediaLimits) -> tuple[np.ndarray, None]:
    return read_npy(data), None


def _read_json(data: bytes, limits: MediaLimits) -> tuple[np.ndarray, float | None]:
    try:
        value = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise InvalidMedia("The IMU recording is no valid JSON.") from None
    if not isinstance(value, dict):
        return _to_array(value, limits), None
    rate_hz = value.get("sample_rate")
    if rate_hz is not None and not (_is_number(rate_hz) and 0 < rate_hz <= RATE_RANGE_HZ[1]):
        raise InvalidMedia("sample_rate in the IMU's JSON must be a number of Hz above 0.")
    return _to_array(value.get("data"), limits), rate_hz


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _to_array(rows: object, limits: MediaLimits) -> np.ndarray:
    if not isinstance(rows, list):
        raise InvalidMedia('The IMU\'s JSON must be a list of rows, or {"data": rows}.')
    _check_num_rows(len(rows), limits)
    for index, row in enumerate(rows):
        is_row = isinstance(row, list) and len(row) == len(COLUMNS)
        if not is_row or not all(map(_is_number, row)):
            raise InvalidMedia(_not_a_row(index + 1))
    try:
        return np.array(rows, dtype=np.float64)
    except OverflowError:
        raise InvalidMedia("The IMU's JSON holds a number too large for a float.") from None


def _not_a_row(number: int) -> str:
    return f"Row {number} of the IMU recording is not six numbers ({', '.join(COLUMNS)})."


def _read_csv(data: bytes, limits: MediaLimits) -> tuple[np.ndarray, None]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidMedia("The IMU's csv is not UTF-8 text.") from None
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise InvalidMedia("The IMU's csv has no rows.")
    mark = max(",;\t", key=lines[0].count)
    header = [cell.strip().strip('"').lower() for cell in lines[0].split(mark)]
    has_header = any(not _is_numeric(cell) for cell in header)
    _check_num_rows(len(lines) - has_header, limits)
    order = [header.index(name) for name in COLUMNS] if set(header) == set(COLUMNS) else None
    rows = [
        _csv_row(line.split(mark), number)
        for number, line in enumerate(lines[has_header:], 1 + has_header)
    ]
    array = np.array(rows, dtype=np.float64).reshape(len(rows), len(COLUMNS))
    return (array[:, order] if order else array), None


def _csv_row(cells: list[str], number: int) -> list[float]:
    try:
        row = [float(cell) for cell in cells]
    except ValueError:
        row = []
    if len(row) != len(COLUMNS):
        raise InvalidMedia(_not_a_row(number))
    return row


def _is_numeric(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


_FORMATS: dict[str, Kind] = {"csv": CSV, "json": JSON, "npy": NPY}
_Reader = Callable[[bytes, MediaLimits], tuple[np.ndarray, float | None]]
_READERS: dict[Kind, _Reader] = {CSV: _read_csv, JSON: _read_json, NPY: _read_npy}
