"""Depth maps: a grey picture or a float .npy in, disparity / 75 as [1, 224, 224] out.

ImageBind's depth encoder sees disparity (baseline * focal / depth, in pixels of the full
picture), not metres. No loader was ever published; this follows the recipe its authors
gave in issues, and the public configuration of its sister project, OmniVore.
"""

import numpy as np
from PIL import Image

from pandagpt.errors import InvalidMedia
from pandagpt.media.limits import MediaLimits
from pandagpt.media.npy import NPY_MAGIC, read_npy
from pandagpt.media.options import MediaOptions
from pandagpt.media.picture import check_size, decode_picture, fit

# Kinect v1/v2; RealSense and Xtion are 0.095 m (OmniVore issue 12).
DEFAULT_BASELINE_M = 0.075
# The Kinect of NYU Depth v2 (its calibration: fx_rgb = 518.858 px of 640). Used whatever
# the size of the picture, so that a scaled-down map gives what the original gives.
DEFAULT_FOCAL_PX = 518.858
DEFAULT_INTEGER_SCALE_M = 0.001
# OmniVore issue 12 and its configuration.
DEPTH_RANGE_M = (0.01, 50.0)
DISPARITY_RANGE_PX = (0.01, 75.0)
_PLAIN_MODES = {"1": "L", "P": "RGB", "PA": "RGB", "LA": "L"}


def load(data: bytes, options: MediaOptions, limits: MediaLimits) -> np.ndarray:
    map_HW = _read_map(data, limits)
    if options.kind == "disparity":
        return disparity_array(_unit_disparity(map_HW))
    default_scale = DEFAULT_INTEGER_SCALE_M if map_HW.dtype.kind in "iu" else 1.0
    with np.errstate(over="ignore"):
        depth_HW = map_HW.astype(np.float32)
        depth_HW *= np.float32(options.scale or default_scale)
    del map_HW
    if not _is_measured(depth_HW).any():
        raise InvalidMedia("The depth map has no pixel with a finite depth above 0.")
    return depth_array(
        depth_HW, options.focal_px or DEFAULT_FOCAL_PX, options.baseline_m or DEFAULT_BASELINE_M
    )


def depth_array(
    depth_HW: np.ndarray,
    focal_px: float = DEFAULT_FOCAL_PX,
    baseline_m: float = DEFAULT_BASELINE_M,
) -> np.ndarray:
    """Metres -> [1, 224, 224]. Zero, negative and non-finite depths count as infinitely far.

    disparity = baseline * focal / depth in pixels, clipped to 0.01..75, divided by 75.
    """
    low, high = DISPARITY_RANGE_PX
    # One array throughout: a map of 50 Mpx is 200 MB.
    array_HW = np.nan_to_num(depth_HW.astype(np.float32), copy=False, posinf=0.0)
    np.clip(array_HW, *DEPTH_RANGE_M, out=array_HW)
    np.divide(np.float32(baseline_m * focal_px), array_HW, out=array_HW)
    array_HW[~_is_measured(depth_HW)] = 0
    np.clip(array_HW, low, high, out=array_HW)
    return disparity_array(np.divide(array_HW, np.float32(high), out=array_HW))


def _is_measured(depth_HW: np.ndarray) -> np.ndarray:
    return np.isfinite(depth_HW) & (depth_HW > 0)


def disparity_array(disparity_HW: np.ndarray) -> np.ndarray:
    """Disparity in 0..1 -> float32 [1, 224, 224]: bicubic resize and centre crop alone."""
    picture = Image.fromarray(np.asarray(disparity_HW, dtype=np.float32))
    return np.asarray(fit(picture), dtype=np.float32)[None]


def _unit_disparity(map_HW: np.ndarray) -> np.ndarray:
    """Integers over their full scale; floats must already be 0..1, and NaN is far."""
    if map_HW.dtype.kind in "iu":
        map_HW = map_HW / np.float32(255 if map_HW.dtype.itemsize == 1 else 65535)
    disparity_HW = np.nan_to_num(map_HW, nan=0.0)
    if disparity_HW.min() < 0 or disparity_HW.max() > 1:
        raise InvalidMedia(
            f"A disparity map must lie in 0..1, this one spans {disparity_HW.min():g} to "
            f'{disparity_HW.max():g}. Divide it, or send metres with kind "depth".'
        )
    return disparity_HW


def _read_map(data: bytes, limits: MediaLimits) -> np.ndarray:
    if data.startswith(NPY_MAGIC):
        return _read_npy_map(data, limits)
    picture = decode_picture(data, limits)
    array = np.asarray(picture.convert(_PLAIN_MODES.get(picture.mode, picture.mode)))
    if array.ndim == 3 and (array[..., :1] == array[..., :3]).all():
        array = array[..., 0]  # grey that was saved as colour
    if array.ndim != 2:
        raise InvalidMedia(
            "The depth map is a colour picture. Send distances, not a colour rendering of them: "
            "8 or 16-bit grey, or a float .npy."
        )
    return array


def _read_npy_map(data: bytes, limits: MediaLimits) -> np.ndarray:
    array = read_npy(data)
    shape = tuple(side for side in array.shape if side != 1) or array.shape
    if array.ndim > 3 or len(shape) != 2:
        raise InvalidMedia(f"The depth .npy has shape {array.shape}; [height, width] is needed.")
    check_size(shape[1], shape[0], limits)
    return array.reshape(shape)
