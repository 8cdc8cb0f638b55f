"""The filter bank: shape, scale and its known empty bin."""

import math

import numpy as np
import pytest

from pandagpt.media.fbank import fbank
from tests.media.made import tone

FLOOR = math.log(np.finfo(np.float32).eps)


@pytest.mark.parametrize(
    ("num_samples", "num_frames"), [(400, 1), (559, 1), (560, 2), (32000, 198)]
)
def test_whole_frames_only(num_samples: int, num_frames: int) -> None:
    mel = fbank(np.ones(num_samples, np.float32))
    assert mel.shape == (128, num_frames)
    assert mel.dtype == np.float32


def test_silence_and_constants_are_the_floor() -> None:
    assert np.allclose(fbank(np.full(800, 0.25, np.float32)), FLOOR, atol=1e-4)


def test_bin_3_holds_no_frequency() -> None:
    noise = np.random.default_rng(0).normal(size=1600).astype(np.float32)
    mel = fbank(noise)
    assert np.allclose(mel[3], FLOOR)
    assert (mel[4:] > FLOOR + 1).all()


def test_a_tone_is_loudest_at_its_own_bin() -> None:
    loudest = fbank(tone(0.1)[0]).mean(axis=1).argmax()
    mel = 1127 * np.log1p(np.array([20, 440, 8000]) / 700)
    assert abs(loudest - 129 * (mel[1] - mel[0]) / (mel[2] - mel[0])) <= 1.5


def test_twice_as_loud_is_four_times_the_power() -> None:
    wave = tone(0.1)[0]
    loud = fbank(wave)[20:] > FLOOR + 5
    assert np.allclose((fbank(2 * wave) - fbank(wave))[20:][loud], math.log(4), atol=1e-4)
