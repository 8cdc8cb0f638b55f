"""The one door: shapes, limits, identity, and what a file is by content."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pandagpt.errors import InvalidMedia, MediaTooLarge
from pandagpt.media.limits import MediaLimits
from pandagpt.media.loader import array_bytes, digest, load, modality_of
from pandagpt.media.modality import Modality
from pandagpt.media.options import MediaOptions
from tests.media.made import film, gradient, npy, picture, sound, tone, wav

OPTIONS, LIMITS = MediaOptions(), MediaLimits()
ROWS = np.ones((5, 6))
FILES = {
    Modality.IMAGE: (picture(gradient()), (3, 224, 224)),
    Modality.VIDEO: (film(5), (15, 3, 2, 224, 224)),
    Modality.AUDIO: (wav(tone(1)), (3, 1, 128, 204)),
    Modality.DEPTH: (picture(gradient()[..., 0]), (1, 224, 224)),
    Modality.THERMAL: (picture(gradient()), (1, 224, 224)),
    Modality.IMU: (npy(ROWS), (6, 2000)),
}


@pytest.mark.parametrize("modality", FILES)
def test_shapes(modality: Modality) -> None:
    data, shape = FILES[modality]
    array = load(modality, data, OPTIONS, LIMITS)
    assert (array.shape, array.dtype) == (shape, np.float32)
    assert array.nbytes == array_bytes(modality) <= array_bytes(None)


@pytest.mark.parametrize("modality", FILES)
def test_bytes_are_limited(modality: Modality) -> None:
    data, _ = FILES[modality]
    with pytest.raises(MediaTooLarge, match="bytes"):
        load(modality, data, OPTIONS, MediaLimits(max_media_bytes=len(data) - 1))


@pytest.mark.parametrize("modality", FILES)
@pytest.mark.parametrize("data", [b"", b"\0", b"hello", bytes(1000), b"\xff" * 1000, b"<html>"])
def test_no_medium_at_all(modality: Modality, data: bytes) -> None:
    with pytest.raises(InvalidMedia):
        load(modality, data, OPTIONS, LIMITS)


def test_mislabelled_media_are_named() -> None:
    with pytest.raises(InvalidMedia, match="found a WAV sound"):
        load(Modality.IMAGE, wav(tone(1)), OPTIONS, LIMITS)
    with pytest.raises(InvalidMedia, match="found a PNG picture"):
        load(Modality.AUDIO, picture(gradient()), OPTIONS, LIMITS)
    with pytest.raises(InvalidMedia, match="found an MP3 sound"):
        load(Modality.IMU, b"ID3", OPTIONS, LIMITS)


def test_digests_tell_everything_apart() -> None:
    variants = [
        (Modality.IMAGE, b"a", OPTIONS),
        (Modality.THERMAL, b"a", OPTIONS),
        (Modality.IMAGE, b"b", OPTIONS),
        (Modality.IMAGE, b"", OPTIONS),
        (Modality.DEPTH, b"a", OPTIONS),
        (Modality.DEPTH, b"a", replace(OPTIONS, kind="disparity")),
        (Modality.DEPTH, b"a", replace(OPTIONS, scale=1.0)),
        (Modality.DEPTH, b"a", replace(OPTIONS, focal_px=1.0)),
    ]
    digests = [digest(*variant) for variant in variants]
    assert len(set(digests)) == len(variants)
    assert digests == [digest(*variant) for variant in variants]
    assert all(len(text) == 64 for text in digests)


@pytest.mark.parametrize(
    ("data", "modality"),
    [
        (picture(gradient()), Modality.IMAGE),
        (picture(gradient(), "JPEG"), Modality.IMAGE),
        (picture(gradient(), "AVIF"), Modality.IMAGE),
        (picture(gradient(), "WEBP"), Modality.IMAGE),
        (wav(tone(1)), Modality.AUDIO),
        (sound(tone(1, 48_000), 48_000, "ipod", "aac"), Modality.AUDIO),
        (sound(tone(1, 48_000), 48_000, "webm", "libopus"), Modality.AUDIO),
        (sound(tone(1, 48_000), 48_000, "ogg", "libopus"), Modality.AUDIO),
        (sound(tone(1, 44_100), 44_100, "adts", "aac"), Modality.AUDIO),
        (film(5), Modality.VIDEO),
        (film(5, 30, "webm", "libvpx-vp9"), Modality.VIDEO),
        (film(5, 30, "avi", "mpeg4"), Modality.VIDEO),
        (npy(ROWS), Modality.IMU),
        (json.dumps(ROWS.tolist()).encode(), Modality.IMU),
        (b"ax,ay,az,gx,gy,gz\n1,2,3,4,5,6\n", Modality.IMU),
    ],
)
def test_a_file_is_what_it_holds(data: bytes, modality: Modality) -> None:
    assert modality_of(data) is modality


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"%PDF-1.4", b"PK\x03\x04", bytes(64), b"OggS" + bytes(64)]
)
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidMedia):
        modality_of(data)
