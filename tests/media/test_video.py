"""Films: the right frames from every container, bounds, and files that name other files."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from pandagpt.errors import InvalidMedia, MediaTooLarge
from pandagpt.media import video
from pandagpt.media.image import MEAN_RGB, STD_RGB
from pandagpt.media.limits import MediaLimits
from pandagpt.media.options import MediaOptions
from tests.media.made import DIGIT_STEP, film, gradient, picture, sound, tone

CONTAINERS = [
    ("mp4", "libx264"),
    ("mp4", "libx265"),
    ("matroska", "libx264"),
    ("webm", "libvpx-vp9"),
    ("webm", "libvpx"),
    ("avi", "libx264"),
    ("avi", "mpeg4"),
    ("mpegts", "libx264"),
]


def load(data: bytes, limits: MediaLimits | None = None) -> np.ndarray:
    return video.load(data, MediaOptions(), limits or MediaLimits())


def shown(views: np.ndarray) -> list[list[int]]:
    """Which frames of `made.film` these are: [clip][first or last]."""
    pixels = views * STD_RGB[:, None, None, None] + MEAN_RGB[:, None, None, None]
    tens = pixels[0::3, ..., :80].mean(axis=(1, 3, 4)) * 255 / DIGIT_STEP
    ones = pixels[2::3, ..., -80:].mean(axis=(1, 3, 4)) * 255 / DIGIT_STEP
    return (10 * np.rint(tens) + np.rint(ones)).astype(int).tolist()


@pytest.mark.parametrize(("format", "codec"), CONTAINERS)
def test_first_and_last_frame_of_each_clip(format: str, codec: str) -> None:
    views = load(film(90, 30, format, codec))
    assert views.shape == (15, 3, 2, 224, 224)
    assert views.dtype == np.float32
    assert shown(views) == [[0, 59], [8, 67], [15, 74], [23, 82], [30, 89]]


def test_a_long_film_is_not_decoded_whole() -> None:
    data = film(120, 2)  # a minute, a key frame in 20: ten frames need some hundred at most
    limits = MediaLimits(max_video_decoded_pixels=64 * 48 * 110)
    assert shown(load(data, limits))[-1][1] == 119


@pytest.mark.parametrize("num_frames", [1, 2, 30])
def test_short_films_give_equal_clips(num_frames: int) -> None:
    views = load(film(num_frames, 30))
    assert np.allclose(views[:3], views[12:])
    assert shown(views)[0] == [0, num_frames - 1]


def test_gif_may_be_a_film() -> None:
    assert load(film(30, 10, "gif", "gif")).shape == (15, 3, 2, 224, 224)


def test_crops_lie_along_the_longer_side() -> None:
    wide = gradient(224, 448)
    tall = wide.transpose(1, 0, 2).copy()
    across = video.video_array([(wide, wide)])
    down = video.video_array([(tall, tall)])
    assert np.allclose(across, down.swapaxes(-1, -2))
    pixels = (across[:, :, 0].transpose(0, 2, 3, 1) * STD_RGB + MEAN_RGB) * 255
    assert np.allclose(pixels, np.stack([wide[:, o : o + 224] for o in (0, 112, 224)]), atol=1e-3)


def test_square_films_give_three_equal_crops() -> None:
    views = load(film(10, 10, size=(48, 48)))
    assert np.array_equal(views[0], views[1])
    assert np.array_equal(views[0], views[2])


def test_frames_wider_than_the_float_product_says() -> None:
    assert video.video_array([(gradient(112, 115), gradient(112, 115))]).shape[-1] == 224


def test_the_same_bytes_give_the_same_array() -> None:
    data = film(40)
    assert np.array_equal(load(data), load(data))


@pytest.mark.parametrize(("format", "codec"), [("mp4", "libx264"), ("matroska", "libx264")])
@pytest.mark.parametrize("part", [0.05, 0.5, 0.8])
def test_cut_files_are_refused(format: str, codec: str, part: float) -> None:
    data = film(60, 30, format, codec)
    with pytest.raises(InvalidMedia):
        load(data[: int(len(data) * part)])


def test_limits_hold() -> None:
    data = film(60, 10)
    for limits in (
        MediaLimits(max_video_seconds=5),
        MediaLimits(max_video_frames=50),
        MediaLimits(max_video_frame_pixels=64 * 48 - 1),
        MediaLimits(max_video_decoded_pixels=64 * 48 * 3),
    ):
        with pytest.raises(MediaTooLarge):
            load(data, limits)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "empty"),
        (picture(gradient()), "PNG"),
        (sound(tone(1, 48_000), 48_000, "ipod", "aac"), "without moving pictures"),
        (sound(tone(1, 48_000), 48_000, "mp3", "libmp3lame"), "MP3"),
        (b"\0\0\0\x18ftypisom" + bytes(200), "MP4"),
        (b"\x1aE\xdf\xa3" + bytes(200), "WebM"),
    ],
)
def test_what_is_no_film_is_refused(data: bytes, found: str) -> None:
    with pytest.raises(InvalidMedia, match=found):
        load(data)


@pytest.mark.parametrize(
    "template",
    [
        "ffconcat version 1.0\nfile {path}\nduration 1\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{path}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXTINF:1,\nconcat:{path}|file://{path}\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        "<?xml version='1.0'?><MPD><BaseURL>file://{path}</BaseURL></MPD>",
    ],
)
@pytest.mark.parametrize("prefix", [b"", b"\n", b"\0\0\0\x18ftypisom"])
def test_a_film_cannot_name_a_file(template: str, prefix: bytes, tmp_path: Path) -> None:
    named = tmp_path / "secret.mp4"
    named.write_bytes(film(30))
    before = named.stat().st_atime_ns
    with pytest.raises(InvalidMedia) as raised:
        load(prefix + template.format(path=named).encode())
    assert str(tmp_path) not in raised.value.message
    assert named.stat().st_atime_ns == before


@pytest.mark.parametrize(
    ("height", "width"), [(480, 640), (115, 112), (64, 30), (720, 404), (2, 41)]
)
def test_frames_are_resized_as_pytorch_does_it(height: int, width: int) -> None:
    frame = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
    size = (
        (math.floor(height / width * 224), 224)
        if width < height
        else (224, math.floor(width / height * 224))
    )
    resized = functional.interpolate(pixels, size, mode="bilinear", align_corners=False)[0].numpy()
    expected = (resized - MEAN_RGB[:, None, None]) / STD_RGB[:, None, None]
    views = video.video_array([(frame, frame)])[:, :, 0]
    assert views.dtype == np.float32
    axis = 1 if width < height else 2
    for view, first in zip(views[[0, 2]], (0, expected.shape[axis] - 224), strict=True):
        assert np.abs(view - expected.take(range(first, first + 224), axis)).max() < 2e-6
