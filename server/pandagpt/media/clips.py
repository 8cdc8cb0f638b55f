"""Where the clips of a sound or a film begin and end, as the reference places them.

Times are exact rationals of a float duration. Rounding them to floats, or to the nearest
sample, moves clips by one sample or frame: of 7.3 s at 16 kHz the clips begin at samples
0, 42399 and 84799.
"""

import math
from fractions import Fraction

CLIP_SECONDS = 2


def clip_times(duration_seconds: float, num_clips: int) -> list[tuple[Fraction, Fraction]]:
    """Evenly spread over the duration; all equal, from 0, when it is two seconds or less."""
    latest = max(Fraction(duration_seconds) - CLIP_SECONDS, Fraction(0))
    starts = [latest * index / (num_clips - 1) for index in range(num_clips)]
    return [(start, start + CLIP_SECONDS) for start in starts]


def clip_samples(num_samples: int, rate_hz: int, num_clips: int) -> list[tuple[int, int]]:
    """[start, stop) of each clip in samples: truncated, and cut at the last sample."""
    times = clip_times(num_samples / rate_hz, num_clips)
    return [(int(start * rate_hz), min(int(end * rate_hz), num_samples)) for start, end in times]


def clip_frames(num_frames: int, fps: float, num_clips: int) -> list[tuple[int, int]]:
    """First and last frame of each clip: rounded up from float products, unlike samples."""
    last = num_frames - 1
    times = clip_times(num_frames / fps, num_clips)
    return [
        (min(math.ceil(fps * float(start)), last), min(math.ceil(fps * float(end)) - 1, last))
        for start, end in times
    ]
