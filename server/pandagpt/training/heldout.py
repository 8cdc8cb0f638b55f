"""Held-out renderings of the toy world, as files: what models are measured on, never trained on.

Seeds lie far from those of training. Each file comes with what it truly shows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import numpy as np

from pandagpt.media.modality import Modality
from pandagpt.training.world.files import (
    audio_file,
    depth_file,
    image_file,
    imu_file,
    thermal_file,
    video_file,
)
from pandagpt.training.world.stage import stage
from pandagpt.training.world.things import THINGS, Scene, random_pair, random_single

FIRST_SEED = 900_000
_CAMERAS = {
    Modality.IMAGE: image_file,
    Modality.DEPTH: depth_file,
    Modality.THERMAL: thermal_file,
    Modality.VIDEO: video_file,
}


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A sound or a motion comes from a scene too; it shows nothing of it but the things."""

    data: bytes
    scene: Scene


def held_out(
    modality: Modality, count: int, *, pairs: bool = False, seed: int = 0
) -> Iterator[HeldOut]:
    """Each thing in turn, or pairs by lot; the same seed gives the same files."""
    rng = Random(FIRST_SEED + seed)
    noise = np.random.default_rng(FIRST_SEED + seed)
    for index in range(count):
        scene = random_pair(rng) if pairs else random_single(rng, THINGS[index % len(THINGS)])
        yield HeldOut(_file(modality, scene, rng, noise), scene)


def _file(modality: Modality, scene: Scene, rng: Random, noise: np.random.Generator) -> bytes:
    if modality in _CAMERAS:
        return _CAMERAS[modality](stage(scene, rng))
    if modality is Modality.AUDIO:
        return audio_file(scene.names, noise)
    (thing,) = scene.names  # a sensor is fixed to one thing
    return imu_file(thing, noise)
