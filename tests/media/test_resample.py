"""Resampling: parts equal the whole, tones survive, and no rate costs much."""

import numpy as np
import pytest

from pandagpt.media.resample import resample, resampled_length
from tests.media.made import tone


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 44_101, 48_000, 384_000])
def test_a_tone_stays_itself(rate_hz: int) -> None:
    resampled = resample(tone(0.2, rate_hz), rate_hz, 16_000)
    assert resampled.shape == (1, 3200)
    middle = slice(400, -400)
    assert np.abs(resampled[:, middle] - tone(0.2, 16_000)[:, middle]).max() < 2e-3


@pytest.mark.parametrize("rate_hz", [11_025, 16_000, 44_100])
def test_a_window_is_a_part_of_the_whole(rate_hz: int) -> None:
    wave = tone(0.5, rate_hz, num_channels=2)
    whole = resample(wave, rate_hz, 16_000)
    for start, stop in [(0, 100), (1234, 5678), (7900, 8000)]:
        assert np.array_equal(resample(wave, rate_hz, 16_000, start, stop), whole[:, start:stop])


def test_length_is_rounded_up() -> None:
    assert resampled_length(44_101, 44_100, 16_000) == 16_001
    assert resample(np.ones((1, 3), np.float32), 48_000, 16_000).shape == (1, 1)


def test_what_the_new_rate_cannot_hold_is_gone() -> None:
    times = np.arange(48_000) / 48_000
    high = np.sin(2 * np.pi * 12_000 * times).astype(np.float32)[None]
    assert np.abs(resample(high, 48_000, 16_000)[:, 100:-100]).max() < 1e-2
