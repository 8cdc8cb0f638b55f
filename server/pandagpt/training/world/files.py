"""The toy world as files that people have: PNG, WAV, MP4, 16-bit depth PNG, CSV.

Renderings in, bytes out. Nothing here is read by training but through `media.load`.
"""

import wave
from fractions import Fraction
from io import BytesIO, StringIO

import av
import numpy as np
from PIL import Image

from pandagpt.training.world.depth import render_depth
from pandagpt.training.world.image import render_image
from pandagpt.training.world.motion import render_motion
from pandagpt.training.world.sound import RATE_HZ, render_sound
from pandagpt.training.world.stage import Stage
from pandagpt.training.world.thermal import render_thermal
from pandagpt.training.world.video import FRAMES_PER_SECOND, render_video

# Drawn three times larger and averaged: smooth edges.
SMOOTH = 3
VIDEO_SECONDS = 2.5
SOUND_SECONDS = 2.5
MOTION_SECONDS = 6.0
# One thread: with more, the bytes depend on the machine.
H264_OPTIONS = {"crf": "26", "x264-params": "threads=1"}
IMU_HEADER = "ax,ay,az,gx,gy,gz"


def image_file(stage: Stage, side: int = 224) -> bytes:
    return _png(render_image(stage, side * SMOOTH).reduce(SMOOTH))


def depth_file(stage: Stage, side: int = 224) -> bytes:
    return _png(Image.fromarray(render_depth(stage, side)))


def thermal_file(stage: Stage, side: int = 224) -> bytes:
    return _png(render_thermal(stage, side))


def video_file(stage: Stage, height: int = 240, seconds: float = VIDEO_SECONDS) -> bytes:
    """H.264 in MP4."""
    frames = render_video(stage, seconds, height, smooth=2)
    buffer = BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", Fraction(FRAMES_PER_SECOND), H264_OPTIONS)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def audio_file(
    things: tuple[str, ...], rng: np.random.Generator, seconds: float = SOUND_SECONDS
) -> bytes:
    """16-bit mono WAV."""
    samples = render_sound(things, seconds, rng)
    buffer = BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(np.rint(samples * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def imu_file(thing: str, rng: np.random.Generator, seconds: float = MOTION_SECONDS) -> bytes:
    """CSV with a header line, one row a step of 1/200 s."""
    text = StringIO()
    rows = render_motion(thing, seconds, rng).T
    np.savetxt(text, rows, fmt="%.3f", delimiter=",", header=IMU_HEADER, comments="")
    return text.getvalue().encode()


def _png(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
