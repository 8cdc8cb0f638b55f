"""Pictures: geometry, modes, and what is refused before memory is spent on it."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pandagpt.errors import InvalidMedia, MediaTooLarge
from pandagpt.media import image, thermal
from pandagpt.media.limits import MediaLimits
from pandagpt.media.options import MediaOptions
from pandagpt.media.picture import FORMATS, fit
from tests.media.made import gradient, picture

LIMITS = MediaLimits()


def load(data: bytes, limits: MediaLimits = LIMITS) -> np.ndarray:
    return image.load(data, MediaOptions(), limits)


def pixels(data: bytes) -> np.ndarray:
    """The loaded picture as 0..1 RGB again."""
    array = load(data).transpose(1, 2, 0)
    return array * image.STD_RGB + image.MEAN_RGB


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header says it is huge."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("format", FORMATS)
def test_formats(format: str) -> None:
    array = load(picture(gradient(), format))
    assert array.shape == (3, 224, 224)
    assert array.dtype == np.float32
    assert np.abs(pixels(picture(gradient(), format)) - pixels(picture(gradient()))).mean() < 0.1


@pytest.mark.parametrize(("height", "width"), [(224, 224), (1, 1), (2, 150), (301, 224), (97, 640)])
def test_any_size_fits(height: int, width: int) -> None:
    assert load(picture(gradient(height, width))).shape == (3, 224, 224)


def test_224_square_is_taken_as_it_is() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    assert np.allclose(pixels(picture(rgb)) * 255, rgb, atol=1e-3)


def test_the_crop_rounds_half_to_even() -> None:
    columns = np.tile(np.arange(229, dtype=np.uint8), (224, 1))
    assert np.asarray(fit(Image.fromarray(columns)))[0, 0] == 2  # 5 / 2 -> 2, not 3


def test_exif_does_not_turn() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = BytesIO()
    Image.fromarray(gradient()).save(file, "PNG", exif=exif)
    assert np.array_equal(load(file.getvalue()), load(picture(gradient())))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I"])
def test_modes(mode: str) -> None:
    file = BytesIO()
    grey = Image.fromarray(gradient()).convert("L")
    (grey if mode in ("I;16", "I") else Image.fromarray(gradient())).convert(mode).save(
        file, "TIFF"
    )
    assert load(file.getvalue()).shape == (3, 224, 224)
    assert thermal.load(file.getvalue(), MediaOptions(), LIMITS).shape == (1, 224, 224)


def test_floats_are_refused() -> None:
    with pytest.raises(InvalidMedia, match="floats"):
        load(picture(np.full((9, 9), np.nan, np.float32), "TIFF"))


def test_thermal_is_grey_over_its_full_scale() -> None:
    eight = thermal.load(picture(np.full((300, 300), 128, np.uint8)), MediaOptions(), LIMITS)
    sixteen = thermal.load(
        picture(np.full((300, 300), 128 * 257, np.uint16)), MediaOptions(), LIMITS
    )
    assert np.allclose(eight, 128 / 255)
    assert np.array_equal(eight, sixteen)


def test_thermal_colour_goes_through_luma() -> None:
    green = np.zeros((224, 224, 3), np.uint8)
    green[..., 1] = 255
    array = thermal.load(picture(green), MediaOptions(), LIMITS)
    assert np.allclose(array, 0.587, atol=2e-3)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.7])
def test_cut_files_are_refused(format: str, part: float) -> None:
    data = picture(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), format)
    with pytest.raises(InvalidMedia):
        load(data[: int(len(data) * part)])


@pytest.mark.parametrize("size", [(8000, 8000), (20_000, 2), (100_000, 100_000), (2**31 - 1, 1)])
def test_sizes_are_refused_from_the_header(size: tuple[int, int]) -> None:
    with pytest.raises(MediaTooLarge):
        load(png_claiming(*size))


def test_thin_pictures_are_refused() -> None:
    with pytest.raises(InvalidMedia, match="101 x 1 pixels"):
        load(picture(gradient(1, 101)))


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "empty"),
        (b"%PDF-1.7", "PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "markup"),
        (b"RIFF\0\0\0\0WAVEfmt ", "WAV"),
        (b"8BPS\0\1", "Photoshop"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "text"),
        (bytes(100), "no known kind"),
    ],
)
def test_the_error_says_what_was_found(data: bytes, found: str) -> None:
    with pytest.raises(InvalidMedia, match=found):
        load(data)


SEEDS = [picture(gradient(12, 9), format) for format in FORMATS]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SEEDS), st.integers(0, 200), st.binary(min_size=1, max_size=8))
def test_damaged_headers_give_a_picture_or_our_error(seed: bytes, at: int, damage: bytes) -> None:
    data = seed[:at] + damage + seed[at + len(damage) :]
    try:
        array = load(data, MediaLimits(max_image_pixels=10_000))
    except (InvalidMedia, MediaTooLarge):
        return
    assert array.shape == (3, 224, 224)
    assert np.isfinite(array).all()
