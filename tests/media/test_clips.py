"""Clip times: exact rationals of float durations."""

import pytest

from pandagpt.media.clips import clip_frames, clip_samples


def test_samples_are_truncated_from_exact_rationals() -> None:
    assert clip_samples(116_800, 16_000, 3) == [(0, 32000), (42399, 74399), (84799, 116799)]


@pytest.mark.parametrize("num_samples", [1, 16_000, 32_000])
def test_short_sounds_give_equal_clips(num_samples: int) -> None:
    assert clip_samples(num_samples, 16_000, 3) == [(0, num_samples)] * 3


def test_frames_are_rounded_up_from_float_products() -> None:
    assert clip_frames(32, 10.0, 5) == [(0, 19), (4, 22), (7, 25), (10, 29), (13, 31)]


def test_frames_stop_at_the_last() -> None:
    assert clip_frames(1, 30.0, 5) == [(0, 0)] * 5
    assert clip_frames(45, 30.0, 5) == [(0, 44)] * 5


@pytest.mark.parametrize("fps", [10.0, 24000 / 1001, 30.0, 59.94])
@pytest.mark.parametrize("num_frames", [2, 61, 1999])
def test_frames_exist(num_frames: int, fps: float) -> None:
    for first, last in clip_frames(num_frames, fps, 5):
        assert 0 <= first <= last < num_frames
