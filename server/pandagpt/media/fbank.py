"""A Kaldi-style log-mel filter bank: one channel of 16 kHz samples in, [mel, frame] out.

Computed in float64. The settings are those that ImageBind's audio encoder was trained
with; kaldi-native-fbank refuses them, because mel bin 3 holds no frequency of a
512-point FFT. Here that bin is the constant floor, as in the reference.
"""

from functools import cache

import numpy as np
from numpy.fft import rfft

SAMPLE_RATE_HZ = 16_000
NUM_MEL_BINS = 128
FRAME_SAMPLES = 400  # 25 ms
HOP_SAMPLES = 160  # 10 ms
_FFT_SAMPLES = 512
_PREEMPHASIS = 0.97
_LOW_HZ, _HIGH_HZ = 20.0, 8000.0
_FLOOR = float(np.finfo(np.float32).eps)


def fbank(wave: np.ndarray) -> np.ndarray:
    """[n] samples -> float32 [128, 1 + (n - 400) // 160]: whole frames only.

    Per frame: mean removed, pre-emphasis (the first sample uses itself), symmetric Hann
    window, power spectrum, triangular mel bins, natural log with floor float32-eps.
    """
    assert wave.ndim == 1
    assert len(wave) >= FRAME_SAMPLES
    frames = np.lib.stride_tricks.sliding_window_view(wave.astype(np.float64), FRAME_SAMPLES)
    frames = frames[::HOP_SAMPLES]
    frames = frames - frames.mean(axis=1, keepdims=True)
    previous = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    frames = (frames - _PREEMPHASIS * previous) * np.hanning(FRAME_SAMPLES)
    power = np.abs(rfft(frames, _FFT_SAMPLES)) ** 2
    mel = power @ _mel_weights()
    return np.log(np.maximum(mel, _FLOOR)).T.astype(np.float32)


def _mel(hertz: np.ndarray | float) -> np.ndarray:
    return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)


@cache
def _mel_weights() -> np.ndarray:
    """[257, 128] triangles, linear in mel; the Nyquist bin has weight 0."""
    edges = np.linspace(_mel(_LOW_HZ), _mel(_HIGH_HZ), NUM_MEL_BINS + 2)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    mel = _mel(np.arange(_FFT_SAMPLES // 2) * SAMPLE_RATE_HZ / _FFT_SAMPLES)[:, None]
    rising, falling = (mel - left) / (centre - left), (right - mel) / (right - centre)
    weights = np.maximum(0.0, np.minimum(rising, falling))
    return np.concatenate([weights, np.zeros((1, NUM_MEL_BINS))])
