"""The toy world as arrays that encoders train on, preprocessed as `media` does it for files.

A seed in, inputs and the words of their captions out. Pictures and sounds are kept already
averaged to the encoders' pooled size, pictures as bytes. Knows no encoder.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from pandagpt.media.audio import audio_array
from pandagpt.media.depth import depth_array
from pandagpt.media.imu import imu_array
from pandagpt.media.thermal import thermal_array
from pandagpt.training.world.depth import render_depth
from pandagpt.training.world.image import render_image
from pandagpt.training.world.motion import render_motion
from pandagpt.training.world.sound import RATE_HZ, render_sound
from pandagpt.training.world.stage import Stage, stage
from pandagpt.training.world.thermal import render_thermal
from pandagpt.training.world.things import (
    COLOURS,
    POSITIONS,
    SIZES,
    THINGS,
    Scene,
    random_pair,
    random_single,
)

SIDE = 224
PICTURE_POOL = 4
SOUND_POOL = 2
# A recording of three clips' length: `media` cuts it into three that do not overlap.
RECORDING_SECONDS = 6.0
IMU_SECONDS = (3.0, 10.0)


@dataclass(frozen=True, slots=True)
class Group:
    """Words of which a caption has one for each thing, and their place in the word targets.

    `linked`: a word beside its thing ("red car"), so that two things do not swap colours.
    """

    words: tuple[str, ...]
    columns: slice
    weight: float
    linked: bool = False


def _groups() -> dict[str, Group]:
    plain = {"thing": THINGS, "colour": COLOURS, "size": SIZES, "position": POSITIONS}
    weights = {"thing": 2.0, "colour": 1.0, "size": 0.5, "position": 1.0}
    pairs = {
        f"{name} of thing": tuple(f"{word} {thing}" for thing in THINGS for word in plain[name])
        for name in ("colour", "position")
    }
    groups, start = {}, 0
    for name, words in (plain | pairs).items():
        columns = slice(start, start + len(words))
        groups[name] = Group(words, columns, weights.get(name, 0.5), linked=name in pairs)
        start = columns.stop
    return groups


GROUPS = _groups()
COLUMNS = {word: k for k, word in enumerate(w for group in GROUPS.values() for w in group.words)}


@dataclass(frozen=True, slots=True)
class Pictures:
    """`pixels` [N,3,56,56] bytes; `words` [N,len(COLUMNS)], 1 where a caption has the word."""

    stages: tuple[Stage, ...]
    pixels: np.ndarray
    words: np.ndarray

    @property
    def names(self) -> list[tuple[str, ...]]:
        return [stage.scene.names for stage in self.stages]


@dataclass(frozen=True, slots=True)
class Recordings:
    """What another sense took of things: `inputs` [N,...] and the names of what was there."""

    inputs: np.ndarray
    names: Sequence[tuple[str, ...]]


def draw_pictures(count: int, pair_share: float, seed: int) -> Pictures:
    stages = draw_stages(count, pair_share, seed)
    pixels = np.stack([_pooled_picture(stage) for stage in stages])
    return Pictures(stages, pixels, np.stack([word_target(stage.scene) for stage in stages]))


def draw_stages(count: int, pair_share: float, seed: int) -> tuple[Stage, ...]:
    rng = Random(seed)
    scenes = (
        random_pair(rng) if rng.random() < pair_share else random_single(rng) for _ in range(count)
    )
    return tuple(stage(scene, rng) for scene in scenes)


def draw_depths(stages: Sequence[Stage]) -> Recordings:
    return _camera(stages, lambda stage: depth_array(render_depth(stage, SIDE) * 0.001))


def draw_thermals(stages: Sequence[Stage]) -> Recordings:
    return _camera(stages, lambda stage: thermal_array(render_thermal(stage, SIDE)))


def draw_sounds(per_thing: int, num_pairs: int, seed: int) -> Recordings:
    """[N,1,64,102]: three clips of each recording; of pairs, both things at once."""
    rng = np.random.default_rng(seed)
    names = [(thing,) for thing in THINGS for _ in range(per_thing)]
    names += [tuple(rng.choice(THINGS, 2, replace=False).tolist()) for _ in range(num_pairs)]
    clips = [
        pool(clip, SOUND_POOL)
        for things in names
        for clip in audio_array(render_sound(things, RECORDING_SECONDS, rng)[None], RATE_HZ)
    ]
    return Recordings(np.stack(clips), [things for things in names for _ in range(3)])


def draw_motions(per_thing: int, seed: int) -> Recordings:
    """[N,6,2000]: recordings of 3 to 10 seconds, zeros after their end."""
    rng = np.random.default_rng(seed)
    names = [(thing,) for thing in THINGS for _ in range(per_thing)]
    motions = (render_motion(thing, rng.uniform(*IMU_SECONDS), rng) for (thing,) in names)
    return Recordings(np.stack([imu_array(motion.T) for motion in motions]), names)


def word_target(scene: Scene) -> np.ndarray:
    target = np.zeros(len(COLUMNS), np.float32)
    for placed in scene.things:
        linked = (f"{placed.colour} {placed.thing}", f"{placed.position} {placed.thing}")
        target[[COLUMNS[word] for word in (*placed.words, *linked)]] = 1
    return target


def pool(array: np.ndarray, size: int) -> np.ndarray:
    """Averages `size` x `size` fields of the last two axes, as the encoders' stems do."""
    height, width = (side // size for side in array.shape[-2:])
    cut = array[..., : height * size, : width * size]
    return cut.reshape(*array.shape[:-2], height, size, width, size).mean((-3, -1))


def _pooled_picture(stage: Stage) -> np.ndarray:
    """[3,56,56] bytes: drawn at full size, then averaged."""
    return np.asarray(render_image(stage, SIDE).reduce(PICTURE_POOL)).transpose(2, 0, 1)


def _camera(stages: Sequence[Stage], take: Callable[[Stage], np.ndarray]) -> Recordings:
    inputs = [pool(take(stage), PICTURE_POOL).astype(np.float32) for stage in stages]
    return Recordings(np.stack(inputs), [stage.scene.names for stage in stages])
