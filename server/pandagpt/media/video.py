"""Films: bytes in, 5 clips x 3 crops of two frames as [15, 3, 2, 224, 224] out."""

import math
from collections.abc import Sequence

import numpy as np

from pandagpt.media.clips import clip_frames
from pandagpt.media.container import FILM_CODECS, open_container
from pandagpt.media.film import Film
from pandagpt.media.image import MEAN_RGB, STD_RGB
from pandagpt.media.limits import MediaLimits
from pandagpt.media.options import MediaOptions
from pandagpt.media.picture import SIDE_PIXELS
from pandagpt.media.sniff import GIF, expect, sniff

NUM_CLIPS = 5
NUM_CROPS = 3


def load(data: bytes, options: MediaOptions, limits: MediaLimits) -> np.ndarray:
    kind = GIF if sniff(data) is GIF else expect(data, ("film",), "a film")
    with open_container(data, kind, FILM_CODECS, limits.max_video_frame_pixels) as container:
        film = Film(container, kind, limits)
        clips = clip_frames(film.num_frames, film.fps, NUM_CLIPS)
        indices = sorted({index for clip in clips for index in clip})
        # Each frame shrinks to its crops before the next is decoded.
        crops = dict(zip(indices, map(_crops, film.frames(indices)), strict=True))
    return _side_by_side([(crops[first], crops[last]) for first, last in clips])


def video_array(clips_HWC: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """First and last RGB frame of each clip -> float32 [3 x clips, 3, 2, 224, 224]."""
    return _side_by_side([(_crops(first), _crops(last)) for first, last in clips_HWC])


def _side_by_side(clips: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Clip by clip, then crop by crop; the two frames lie behind the colours."""
    array = np.empty((3 * len(clips), 3, 2, SIDE_PIXELS, SIDE_PIXELS), np.float32)
    for number, (first, last) in enumerate(clips):
        array[3 * number : 3 * number + 3, :, 0] = first
        array[3 * number : 3 * number + 3, :, 1] = last
    return array


def _crops(frame_HWC: np.ndarray) -> np.ndarray:
    """RGB bytes -> [3 crops, 3, 224, 224]: bilinear without antialias, then along the long side."""
    picture_CHW = _bilinear(frame_HWC, *_resized(*frame_HWC.shape[:2]))
    picture_CHW = (picture_CHW - MEAN_RGB[:, None, None]) / STD_RGB[:, None, None]
    height, width = (length - SIDE_PIXELS for length in picture_CHW.shape[1:])
    places = [(math.ceil(height * share), math.ceil(width * share)) for share in (0, 0.5, 1)]
    return np.stack([picture_CHW[:, y : y + SIDE_PIXELS, x : x + SIDE_PIXELS] for y, x in places])


def _bilinear(frame_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """RGB bytes -> float32 [3, height, width] in 0..1, as PyTorch's `interpolate` does it
    (bilinear, no antialias, `align_corners` off): only the four pixels around a point count.
    """
    above, below, down_H = _neighbours(frame_HWC.shape[0], height)
    left, right, across_W = _neighbours(frame_HWC.shape[1], width)
    # Colours lie within a row: numpy is slow along an axis of three.
    across_R, down_H1 = np.repeat(across_W, 3), down_H[:, None]

    def across(rows: np.ndarray) -> np.ndarray:
        pixels_HWC = frame_HWC[rows]
        before_HR = pixels_HWC.take(left, 1).reshape(height, -1)
        behind_HR = pixels_HWC.take(right, 1).reshape(height, -1)
        return before_HR * (1 - across_R) + behind_HR * across_R

    picture_HR = across(above) * (1 - down_H1) + across(below) * down_H1
    return picture_HR.reshape(height, width, 3).transpose(2, 0, 1) / np.float32(255)


def _neighbours(length: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each wanted point the pixels before and behind it, and how near it is to the second."""
    # Rounded once at the end, as the processor's multiply-and-add does it in PyTorch.
    scale = float(np.float32(length) / np.float32(wanted))
    points = np.maximum(scale * (np.arange(wanted) + 0.5) - 0.5, 0).astype(np.float32)
    before = np.minimum(points.astype(np.intp), length - 1)
    return before, np.minimum(before + 1, length - 1), points - before.astype(np.float32)


def _resized(height: int, width: int) -> tuple[int, int]:
    """Float arithmetic, as in the reference: 115 x 112 becomes 229 x 224, not 230."""
    if width < height:
        return math.floor(height / width * SIDE_PIXELS), SIDE_PIXELS
    return SIDE_PIXELS, math.floor(width / height * SIDE_PIXELS)
