"""Pictures in colour: bytes in, a standardised [3, 224, 224] array out."""

import numpy as np
from PIL import Image

from pandagpt.media.limits import MediaLimits
from pandagpt.media.options import MediaOptions
from pandagpt.media.picture import decode_picture, fit, to_mode

# CLIP's channel statistics, which ImageBind's vision encoder keeps; videos use them too.
MEAN_RGB = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD_RGB = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


def load(data: bytes, options: MediaOptions, limits: MediaLimits) -> np.ndarray:
    return image_array(decode_picture(data, limits))


def image_array(picture: Image.Image) -> np.ndarray:
    """Any mode -> float32 [3, 224, 224]; palette and grey become RGB, alpha is dropped."""
    pixels_HWC = np.asarray(fit(to_mode(picture, "RGB")), dtype=np.float32) / 255
    return np.ascontiguousarray(((pixels_HWC - MEAN_RGB) / STD_RGB).transpose(2, 0, 1))
