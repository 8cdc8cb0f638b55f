"""Windowed-sinc resampling of any part of a signal, between any two whole rates.

A window [start, stop) of the output costs only that window, and at most `to_rate`
kernels are built whatever the two rates are, so that a forged rate cannot ask for memory.
"""

import math

import numpy as np

# The reference's resampler (torchaudio's defaults): Hann window, six zero crossings.
_NUM_ZERO_CROSSINGS = 6
_ROLLOFF = 0.99


def resampled_length(num_samples: int, from_rate: int, to_rate: int) -> int:
    return -(-num_samples * to_rate // from_rate)


def resample(
    wave: np.ndarray, from_rate: int, to_rate: int, start: int = 0, stop: int | None = None
) -> np.ndarray:
    """[channels, n] -> float32 [channels, stop - start]: samples start..stop of the output.

    The signal is 0 outside its ends. Kernels are computed in float64, applied in float32.
    """
    stop = resampled_length(wave.shape[1], from_rate, to_rate) if stop is None else stop
    if from_rate == to_rate:
        return wave[:, start:stop].astype(np.float32)
    divisor = math.gcd(from_rate, to_rate)
    num_in, num_out = from_rate // divisor, to_rate // divisor
    kernels, half = _kernels(num_in, num_out)
    outputs = np.arange(start, stop)
    first = outputs * num_in // num_out - half  # input sample under the kernel's first tap
    part = _padded(wave, int(first[0]), int(first[-1]) + kernels.shape[1])
    taps = np.lib.stride_tricks.sliding_window_view(part, kernels.shape[1], axis=1)
    weights = kernels[outputs % num_out]
    rows = first - first[0]
    return np.stack([np.einsum("nk,nk->n", channel[rows], weights) for channel in taps])


def _kernels(num_in: int, num_out: int) -> tuple[np.ndarray, int]:
    """One kernel for each phase an output can have between two inputs: [num_out, taps]."""
    cutoff = min(num_in, num_out) * _ROLLOFF / num_in  # in units of the input's Nyquist rate
    half = math.ceil(_NUM_ZERO_CROSSINGS / cutoff)
    phase = (np.arange(num_out) * num_in % num_out) / num_out
    taps = np.arange(-half, half + 2)
    crossings = (taps[None, :] - phase[:, None]) * cutoff
    crossings = np.clip(crossings, -_NUM_ZERO_CROSSINGS, _NUM_ZERO_CROSSINGS)
    window = np.cos(np.pi * crossings / _NUM_ZERO_CROSSINGS / 2) ** 2
    return (np.sinc(crossings) * window * cutoff).astype(np.float32), half


def _padded(wave: np.ndarray, start: int, stop: int) -> np.ndarray:
    """wave[:, start:stop], with zeros where that is outside of it."""
    part = wave[:, max(start, 0) : max(stop, 0)].astype(np.float32)
    left = max(-start, 0)
    return np.pad(part, ((0, 0), (left, stop - start - left - part.shape[1])))
