"""Bytes to a decoded Pillow picture, safely; and the resize and crop that pictures share.

Knows nothing of what the pixels mean: colour, heat or distance.
"""

import struct
import warnings
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image

from pandagpt.errors import InvalidMedia, MediaTooLarge
from pandagpt.media.limits import MediaLimits
from pandagpt.media.sniff import expect

SIDE_PIXELS = 224
MAX_ASPECT_RATIO = 100
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")

# A warned-of bomb is a bomb. Set once: swapping filters around each call is not thread-safe.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)

# What Pillow's decoders raise on broken bytes. Listed, so that our own mistakes still show.
_DECODER_ERRORS = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    Warning,
    struct.error,
    zlib.error,
)


def decode_picture(data: bytes, limits: MediaLimits) -> Image.Image:
    """The first picture of `data`, turned by no EXIF tag. Raises InvalidMedia, MediaTooLarge."""
    expect(data, ("picture",), "a picture")
    with _decoder():
        picture = Image.open(BytesIO(data), formats=FORMATS)
    check_size(*picture.size, limits)
    with _decoder():
        picture.load()
    return picture


@contextmanager
def _decoder() -> Generator[None]:
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise MediaTooLarge(
            "The picture claims far more pixels than is allowed. Send a smaller one."
        ) from None
    except _DECODER_ERRORS:
        raise InvalidMedia(
            "The picture is broken or cut short. Send a complete PNG, JPEG, WebP, GIF, BMP, "
            "TIFF or AVIF file."
        ) from None


def check_size(width: int, height: int, limits: MediaLimits) -> None:
    """Sizes are a header's claims: this runs before memory is spent on them."""
    if width < 1 or height < 1:
        raise InvalidMedia(f"The picture is {width} x {height} pixels: it has none.")
    if width * height > limits.max_image_pixels or max(width, height) > limits.max_image_side:
        raise MediaTooLarge(
            f"The picture is {width} x {height} pixels; at most {limits.max_image_pixels} pixels "
            f"and {limits.max_image_side} on a side are allowed. Scale it down; "
            f"the model sees {SIDE_PIXELS} x {SIDE_PIXELS}."
        )
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise InvalidMedia(
            f"The picture is {width} x {height} pixels; the longer side may be at most "
            f"{MAX_ASPECT_RATIO} times the shorter one. Crop it: the model sees the middle."
        )


def to_mode(picture: Image.Image, mode: Literal["L", "RGB"]) -> Image.Image:
    """8 bits a channel: 16-bit grey over its full scale, floats refused."""
    if picture.mode == "F":
        raise InvalidMedia("The picture holds floats. Send 8-bit colour, or 8 or 16-bit grey.")
    with _decoder():
        return _to_eight_bits(picture).convert(mode)


def _to_eight_bits(picture: Image.Image) -> Image.Image:
    if picture.mode not in _SIXTEEN_BIT:
        return picture
    grey = np.clip(np.asarray(picture, dtype=np.float32), 0, 65535)
    return Image.fromarray(np.rint(grey * (255 / 65535)).astype(np.uint8))


def fit(picture: Image.Image) -> Image.Image:
    """Shorter side to 224 (bicubic, antialiased; the longer rounded down), middle 224 x 224."""
    width, height = picture.size
    short = min(width, height)
    size = (SIDE_PIXELS * width // short, SIDE_PIXELS * height // short)
    resized = picture.resize(size, Image.Resampling.BICUBIC)
    # Python's round halves to even, as the reference's crop does.
    left, top = (round((side - SIDE_PIXELS) / 2) for side in size)
    return resized.crop((left, top, left + SIDE_PIXELS, top + SIDE_PIXELS))
