"""A stage seen by a depth camera: millimetres as 16-bit grey.

The wall stands at the back, the floor comes nearer towards the lower edge, each thing stands
before the wall with its own relief.
"""

from random import Random

import numpy as np
from PIL import Image, ImageDraw

from pandagpt.training.world.drawings import DRAWINGS
from pandagpt.training.world.stage import Stage

WALL_METRES = (3.0, 4.5)
THING_METRES = (1.6, 2.2)
HORIZON = 0.68
FLOOR_NEARER_METRES = 0.8


def render_depth(stage: Stage, side: int) -> np.ndarray:
    """[side, side] uint16 millimetres."""
    rng = Random(stage.backdrop)
    picture = Image.fromarray(_room(rng.uniform(*WALL_METRES), side))
    draw = ImageDraw.Draw(picture)
    for actor in stage.actors:
        distance = rng.uniform(*THING_METRES)
        for part in DRAWINGS[actor.placed.thing]:
            draw.polygon(actor.outline(part.shape, side), fill=distance - part.relief)
    return np.rint(np.asarray(picture) * 1000).astype(np.uint16)


def _room(wall_metres: float, side: int) -> np.ndarray:
    rows = np.arange(side, dtype=np.float32) / side
    nearer = FLOOR_NEARER_METRES * np.clip((rows - HORIZON) / (1 - HORIZON), 0, None)
    return np.repeat((wall_metres - nearer)[:, None], side, axis=1).astype(np.float32)
