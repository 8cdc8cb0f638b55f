"""Thermal pictures: bytes in, grey 0..1 as [1, 224, 224] out.

No mean and no deviation: PandaGPT's preprocessing applies none, and adding the usual ones
costs accuracy (LLVIP 62 -> 55 %).
"""

import numpy as np
from PIL import Image

from pandagpt.media.limits import MediaLimits
from pandagpt.media.options import MediaOptions
from pandagpt.media.picture import decode_picture, fit, to_mode


def load(data: bytes, options: MediaOptions, limits: MediaLimits) -> np.ndarray:
    return thermal_array(decode_picture(data, limits))


def thermal_array(picture: Image.Image) -> np.ndarray:
    """8-bit grey as it is, 16-bit over its full scale, colour through Rec. 601 luma."""
    grey = fit(to_mode(picture, "L"))
    return np.asarray(grey, dtype=np.float32)[None] / 255
