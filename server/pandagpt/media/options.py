"""What the sender may say about a medium besides its bytes."""

import math
from dataclasses import dataclass
from typing import Literal

from pandagpt.errors import InvalidValue, UnsupportedValue

DepthKind = Literal["depth", "disparity"]
_POSITIVE = ("scale", "focal_px", "baseline_m", "sample_rate_hz")
_CAMERA = ("scale", "focal_px", "baseline_m")


@dataclass(frozen=True, slots=True)
class MediaOptions:
    """`None` is the documented default of the modality that reads the field.

    kind, scale (metres per unit), focal_px, baseline_m: depth. format ("csv", "json",
    "npy"; None = by content) and sample_rate_hz: IMU. Others leave all of them aside.
    """

    kind: DepthKind = "depth"
    scale: float | None = None
    focal_px: float | None = None
    baseline_m: float | None = None
    format: str | None = None
    sample_rate_hz: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("depth", "disparity"):
            raise UnsupportedValue('kind must be "depth" or "disparity"', "kind")
        for name in _POSITIVE:
            _check_positive(name, getattr(self, name))
        for name in _CAMERA:
            if self.kind == "disparity" and getattr(self, name) is not None:
                raise UnsupportedValue(f'{name} has no meaning with kind "disparity"', name)


def _check_positive(name: str, value: float | None) -> None:
    if value is not None and not (math.isfinite(value) and 0 < value <= 1e9):
        raise InvalidValue(f"{name} must be above 0 and at most 1e9, got {value:g}", name)
