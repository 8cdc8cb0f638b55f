"""Small media files, made in memory: what the tests of this folder feed to the loaders."""

import wave
from fractions import Fraction
from io import BytesIO

import av
import numpy as np
from PIL import Image

DIGIT_STEP = 20


def picture(array: np.ndarray, format: str = "PNG") -> bytes:
    file = BytesIO()
    Image.fromarray(array).save(file, format)
    return file.getvalue()


def gradient(height: int = 60, width: int = 80) -> np.ndarray:
    """RGB bytes in which every pixel differs from its neighbours."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 3, columns * 2, rows + columns], axis=2).astype(np.uint8)


def npy(array: np.ndarray) -> bytes:
    file = BytesIO()
    np.save(file, array)
    return file.getvalue()


def tone(seconds: float, rate_hz: int = 16_000, num_channels: int = 1) -> np.ndarray:
    """Float32 [channels, n]: 440 Hz in the first channel, and its multiples in the others."""
    times = np.arange(int(seconds * rate_hz)) / rate_hz
    pitches = 440 * np.arange(1, num_channels + 1)[:, None]
    return (0.5 * np.sin(2 * np.pi * pitches * times)).astype(np.float32)


def wav(samples_CN: np.ndarray, rate_hz: int = 16_000) -> bytes:
    file = BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((len(samples_CN), 2, rate_hz, 0, "NONE", ""))
        writer.writeframes(np.rint(samples_CN.T * 32767).astype("<i2").tobytes())
    return file.getvalue()


def sound(samples_CN: np.ndarray, rate_hz: int, format: str, codec: str) -> bytes:
    """One or two channels, encoded."""
    layout = "stereo" if len(samples_CN) == 2 else "mono"
    file = BytesIO()
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples_CN), format="fltp", layout=layout
        )
        frame.sample_rate, frame.pts = rate_hz, 0
        resampler = av.AudioResampler(
            stream.codec_context.format, layout, rate_hz, stream.codec_context.frame_size or None
        )
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return file.getvalue()


def film(
    num_frames: int = 90,
    fps: int = 30,
    format: str = "mp4",
    codec: str = "libx264",
    size: tuple[int, int] = (64, 48),
) -> bytes:
    """Frame i shows its tens in the left half's brightness and its ones in the right half's."""
    file = BytesIO()
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream(codec, rate=fps)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = size
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        stream.gop_size = 20
        for index in range(num_frames):
            grey = np.empty((size[1], size[0], 3), np.uint8)
            grey[:, : size[0] // 2] = DIGIT_STEP * (index // 10)
            grey[:, size[0] // 2 :] = DIGIT_STEP * (index % 10)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()
