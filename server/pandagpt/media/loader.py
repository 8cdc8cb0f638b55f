"""The one door: a modality and bytes in, the encoder's float32 input out; and its identity."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import astuple

import numpy as np

from pandagpt.errors import MediaTooLarge
from pandagpt.media import audio, depth, image, imu, thermal, video
from pandagpt.media.container import FILM_CODECS, SOUND_CODECS, film_stream, open_container
from pandagpt.media.limits import MediaLimits
from pandagpt.media.modality import Modality
from pandagpt.media.options import MediaOptions
from pandagpt.media.sniff import Family, Kind, expect

# Part of every digest: raise it when the same bytes give another array.
PREPROCESSING_VERSION = 1

Loader = Callable[[bytes, MediaOptions, MediaLimits], np.ndarray]
_LOADERS: Mapping[Modality, Loader] = {
    Modality.IMAGE: image.load,
    Modality.VIDEO: video.load,
    Modality.AUDIO: audio.load,
    Modality.DEPTH: depth.load,
    Modality.THERMAL: thermal.load,
    Modality.IMU: imu.load,
}


_BY_FAMILY: Mapping[Family, Modality] = {
    "picture": Modality.IMAGE,
    "sound": Modality.AUDIO,
    "table": Modality.IMU,
}


_SHAPES: Mapping[Modality, tuple[int, ...]] = {
    Modality.IMAGE: (3, 224, 224),
    Modality.VIDEO: (15, 3, 2, 224, 224),
    Modality.AUDIO: (3, 1, 128, 204),
    Modality.DEPTH: (1, 224, 224),
    Modality.THERMAL: (1, 224, 224),
    Modality.IMU: (6, 2000),
}


def array_bytes(modality: Modality | None) -> int:
    """What `load` gives, in memory; None is not known yet, so it counts as the largest."""
    if modality is None:
        return max(array_bytes(known) for known in _SHAPES)
    return 4 * math.prod(_SHAPES[modality])


def shape_of(modality: Modality) -> tuple[int, ...]:
    return _SHAPES[modality]


def load(modality: Modality, data: bytes, options: MediaOptions, limits: MediaLimits) -> np.ndarray:
    """Raises InvalidMedia or MediaTooLarge, and nothing else, whatever the bytes are.

    image [3, 224, 224], video [15, 3, 2, 224, 224], audio [3, 1, 128, 204],
    depth and thermal [1, 224, 224], imu [6, 2000].
    """
    if len(data) > limits.max_media_bytes:
        raise MediaTooLarge(
            f"The file has {len(data)} bytes; at most {limits.max_media_bytes} are allowed."
        )
    return _LOADERS[modality](data, options, limits)


def modality_of(data: bytes) -> Modality:
    """By content alone: thermal and depth look like any picture, so they must be said."""
    kind = expect(data, ("picture", "sound", "film", "table"), "a picture, sound, film or table")
    if kind.family == "film":
        return _modality_of_container(data, kind)
    return _BY_FAMILY[kind.family]


def _modality_of_container(data: bytes, kind: Kind) -> Modality:
    """MP4, WebM and Ogg hold films or sound alone; only their headers tell which."""
    codecs = f"{SOUND_CODECS},{FILM_CODECS}"
    with open_container(data, kind, codecs, MediaLimits().max_video_frame_pixels) as container:
        return Modality.AUDIO if film_stream(container) is None else Modality.VIDEO


def digest(modality: Modality, data: bytes, options: MediaOptions) -> str:
    """SHA-256 in hex: equal only for the same kind, options, preprocessing and bytes."""
    identity = (PREPROCESSING_VERSION, modality.value, astuple(options), len(data))
    return hashlib.sha256(repr(identity).encode() + data).hexdigest()
