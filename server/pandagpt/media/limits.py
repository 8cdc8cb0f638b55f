"""What one medium may cost: checked from its header, and again while decoding."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """Defaults are the server's; every number is per medium."""

    max_media_bytes: int = 32 * 1024 * 1024
    max_image_pixels: int = 50_000_000
    max_image_side: int = 16_384
    max_audio_seconds: float = 600.0
    # 600 s of 48 kHz stereo in float32 are 230 MB; a small file can claim far more.
    max_audio_decoded_bytes: int = 256 * 1024 * 1024
    max_audio_channels: int = 8
    max_video_seconds: float = 600.0
    max_video_frames: int = 100_000
    max_video_frame_pixels: int = 20_000_000
    # Pictures between a key frame and a frame that is used; 4K with one key frame in 250 fits.
    max_video_decoded_pixels: int = 20_000_000_000
    max_imu_rows: int = 100_000
    # What decoding itself may take, in a process of its own: of a processor, and of memory.
    max_decode_seconds: float = 30.0
    max_decode_bytes: int = 1024 * 1024 * 1024

    @property
    def max_decode_wall_seconds(self) -> float:
        """A processor shared with others gives a decoder less of itself."""
        return 4 * self.max_decode_seconds
