"""A stage in motion, filmed: RGB frames of things that travel, bob and sway."""

import math
from random import Random

import numpy as np

from pandagpt.training.world.image import render_image
from pandagpt.training.world.stage import Stage

FRAMES_PER_SECOND = 12
WIDTH_PER_HEIGHT = 4 / 3
TRAVEL = (0.1, 0.26)
BOB = 0.025
SWAY = 0.08


def render_video(stage: Stage, seconds: float, height: int, smooth: int = 1) -> np.ndarray:
    """[frames, height, width, 3] bytes, 4:3. `smooth`: draw so much larger, then average."""
    rng = Random(stage.backdrop)
    width = 2 * round(height * WIDTH_PER_HEIGHT / 2)
    # Stages are square: the film shows more to both sides.
    centred = stage.moved((width / height - 1) / 2, 0)
    travel = rng.uniform(*TRAVEL) * rng.choice((-1, 1))
    bounce = rng.uniform(1.0, 2.0)
    frames = []
    for index in range(round(seconds * FRAMES_PER_SECOND)):
        now = index / FRAMES_PER_SECOND
        swing = math.sin(2 * math.pi * bounce * now)
        moved = centred.moved(travel * (now / seconds - 0.5), BOB * swing, SWAY * swing)
        picture = render_image(moved, height * smooth, width * smooth)
        frames.append(np.asarray(picture.reduce(smooth)))
    return np.stack(frames)
