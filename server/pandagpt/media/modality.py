"""The six media (and text): their names, and which encoder reads each."""

from enum import StrEnum


class Modality(StrEnum):
    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    DEPTH = "depth"
    THERMAL = "thermal"
    IMU = "imu"
    TEXT = "text"

    @property
    def encoder(self) -> str:
        """The trunk's name in ImageBind's checkpoint; images and videos share one."""
        return "vision" if self in (Modality.IMAGE, Modality.VIDEO) else self.value
