"""Depth: metres to disparity, the forms of the same map, refusals."""

from typing import Any

import numpy as np
import pytest

from pandagpt.errors import InvalidMedia, InvalidValue, MediaTooLarge, UnsupportedValue
from pandagpt.media import depth
from pandagpt.media.limits import MediaLimits
from pandagpt.media.options import MediaOptions
from tests.media.made import gradient, npy, picture

FAR = 0.01 / 75


def load(data: bytes, **options: Any) -> np.ndarray:
    return depth.load(data, MediaOptions(**options), MediaLimits())


def flat(value: float, dtype: type = np.float32) -> np.ndarray:
    return np.full((224, 224), value, dtype)


def test_metres_become_disparity() -> None:
    array = load(npy(flat(2.0)))
    assert array.shape == (1, 224, 224)
    assert array.dtype == np.float32
    assert np.allclose(array, 0.075 * 518.858 / 2 / 75)


def test_intrinsics_and_scale() -> None:
    assert np.allclose(load(npy(flat(2.0)), focal_px=600, baseline_m=0.1), 0.1 * 600 / 2 / 75)
    assert np.allclose(load(npy(flat(2.0)), scale=0.5), load(npy(flat(1.0))))


def test_millimetres_by_default_for_integers() -> None:
    wanted = load(npy(flat(1.5)))
    assert np.allclose(load(picture(flat(1500, np.uint16))), wanted)
    assert np.allclose(load(npy(flat(1500, np.uint16))), wanted)
    assert np.allclose(load(npy(flat(1500, np.int32))), wanted)
    assert np.allclose(load(picture(flat(150, np.uint8)), scale=0.01), wanted)


@pytest.mark.parametrize("invalid", [0.0, -1.0, np.nan, np.inf])
def test_what_was_not_measured_is_far(invalid: float) -> None:
    map_HW = flat(1.0)
    map_HW[:100] = invalid
    array = load(npy(map_HW))[0]
    assert np.allclose(array[:100], FAR)
    assert (array[100:] > 0.5).all()


def test_near_and_far_are_bounded() -> None:
    assert np.allclose(load(npy(flat(1e-6))), 1)
    assert np.allclose(load(npy(flat(1e6))), 0.075 * 518.858 / 50 / 75)


def test_disparity_is_taken_as_it_is() -> None:
    assert np.allclose(load(npy(flat(0.3)), kind="disparity"), 0.3)
    assert np.allclose(load(picture(flat(51, np.uint8)), kind="disparity"), 0.2)
    assert np.allclose(load(picture(flat(13107, np.uint16)), kind="disparity"), 0.2)


def test_grey_saved_as_colour_is_grey() -> None:
    grey = np.repeat(flat(77, np.uint8)[..., None], 3, axis=2)
    assert np.array_equal(load(picture(grey)), load(picture(grey[..., 0])))


@pytest.mark.parametrize("shape", [(1, 30, 40), (30, 40, 1), (30, 40)])
def test_a_single_channel_may_be_written_out(shape: tuple[int, ...]) -> None:
    map_HW = np.linspace(1, 5, 1200, dtype=np.float32)
    assert np.array_equal(load(npy(map_HW.reshape(shape))), load(npy(map_HW.reshape(30, 40))))


@pytest.mark.parametrize(
    ("data", "options", "found"),
    [
        (picture(gradient()), {}, "colour"),
        (npy(flat(np.nan)), {}, "no pixel"),
        (picture(flat(0, np.uint8)), {}, "no pixel"),
        (npy(flat(3.0)), {"kind": "disparity"}, "0..1"),
        (npy(flat(-np.inf)), {"kind": "disparity"}, "0..1"),
        (npy(flat(70_000, np.int32)), {"kind": "disparity"}, "0..1"),
        (npy(flat(-1e300, np.float64)), {}, "no pixel"),
        (npy(np.zeros((3, 30, 40), np.float32)), {}, "shape"),
        (npy(np.zeros((0, 40), np.float32)), {}, "0 pixels|has none"),
        (npy(np.asarray(1, np.float32)), {}, "shape"),
        (npy(np.zeros((4, 4), np.complex64)), {}, "plain numbers"),
        (npy(np.zeros((4, 4), np.float32))[:-1], {}, "cut short"),
        (b"", {}, "empty"),
        (b"1,2,3", {}, "table"),
    ],
)
def test_refusals(data: bytes, options: dict[str, Any], found: str) -> None:
    with pytest.raises(InvalidMedia, match=found):
        load(data, **options)


def test_large_arrays_are_refused() -> None:
    with pytest.raises(MediaTooLarge):
        load(npy(np.zeros((2, 20_000), np.uint8)))


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["scale", "focal_px", "baseline_m", "sample_rate_hz"])
def test_options_are_positive_numbers(name: str, value: float) -> None:
    options: dict[str, Any] = {name: value}
    with pytest.raises(InvalidValue) as raised:
        MediaOptions(**options)
    assert raised.value.param == name


def test_a_camera_means_nothing_to_disparity() -> None:
    with pytest.raises(UnsupportedValue):
        MediaOptions(kind="disparity", focal_px=500)
