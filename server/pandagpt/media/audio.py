"""Sound: bytes in, three log-mel spectrograms of two seconds as [3, 1, 128, 204] out."""

import numpy as np

from pandagpt.errors import InvalidMedia
from pandagpt.media.clips import clip_samples
from pandagpt.media.fbank import FRAME_SAMPLES, NUM_MEL_BINS, SAMPLE_RATE_HZ, fbank
from pandagpt.media.limits import MediaLimits
from pandagpt.media.options import MediaOptions
from pandagpt.media.resample import resample, resampled_length
from pandagpt.media.sound import decode_sound

NUM_CLIPS = 3
NUM_FRAMES = 204
# ImageBind's statistics of the log-mel values.
_MEL_MEAN, _MEL_STD = -4.268, 9.138
# Far beyond any recording; above it the power spectrum could leave float32.
_MAX_AMPLITUDE = 1e6


def load(data: bytes, options: MediaOptions, limits: MediaLimits) -> np.ndarray:
    wave_CN, rate_hz = decode_sound(data, limits)
    return audio_array(wave_CN, rate_hz)


def audio_array(wave_CN: np.ndarray, rate_hz: int) -> np.ndarray:
    """[channels, n] float32 samples in -1..1 -> float32 [3, 1, 128, 204]."""
    if resampled_length(wave_CN.shape[1], rate_hz, SAMPLE_RATE_HZ) < FRAME_SAMPLES:
        milliseconds = 1000 * wave_CN.shape[1] / rate_hz
        raise InvalidMedia(
            f"The sound lasts {milliseconds:.3g} ms; at least 25 ms are needed, 2 s are better."
        )
    if not np.abs(wave_CN).max() < _MAX_AMPLITUDE:
        raise InvalidMedia("The sound has samples that are not finite. They must lie in -1..1.")
    clips = clip_waves(wave_CN, rate_hz)
    return np.stack([_spectrogram(clip_CN[0]) for clip_CN in clips])


def clip_waves(wave_CN: np.ndarray, rate_hz: int) -> list[np.ndarray]:
    """The three clips at 16 kHz, each less its mean over all channels and samples.

    The reference subtracts in place, and clips overlap in sounds under six seconds: a later
    clip then sees samples that an earlier one has shifted. Repeated here, clip by clip.
    """
    num_samples = resampled_length(wave_CN.shape[1], rate_hz, SAMPLE_RATE_HZ)
    earlier: list[tuple[int, int, np.float32]] = []
    clips = []
    for start, stop in clip_samples(num_samples, SAMPLE_RATE_HZ, NUM_CLIPS):
        clip_CN = resample(wave_CN, rate_hz, SAMPLE_RATE_HZ, start, stop)
        for shifted_start, shifted_stop, mean in earlier:
            clip_CN[:, max(shifted_start - start, 0) : max(shifted_stop - start, 0)] -= mean
        mean = clip_CN.mean()
        earlier.append((start, stop, mean))
        clips.append(clip_CN - mean)
    return clips


def _spectrogram(wave_N: np.ndarray) -> np.ndarray:
    """[n] -> [1, 128, 204]: frames that are missing are 0 before the statistics, not after."""
    mel = fbank(wave_N)[:, :NUM_FRAMES]
    padded = np.zeros((NUM_MEL_BINS, NUM_FRAMES), np.float32)
    padded[:, : mel.shape[1]] = mel
    return ((padded - np.float32(_MEL_MEAN)) / np.float32(_MEL_STD))[None]
