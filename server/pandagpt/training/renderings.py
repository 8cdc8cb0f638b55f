"""Scenes of the toy world as arrays that encoders train on.

A seed in, pictures and the words of their captions out. Pictures are kept as bytes, already
averaged to the encoders' pooled size; two seeds never share a scene's pose.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from pandagpt.training.world.image import render_image
from pandagpt.training.world.stage import Stage, stage
from pandagpt.training.world.things import (
    COLOURS,
    POSITIONS,
    SIZES,
    THINGS,
    WORDS,
    Scene,
    random_pair,
    random_single,
)

SIDE = 224
POOL = 4
POOLED_SIDE = SIDE // POOL
_WORD_INDEX = {word: index for index, word in enumerate(WORDS)}


def word_groups() -> dict[str, slice]:
    """Where things, colours, sizes and positions lie in the word targets."""
    groups, start = {}, 0
    named = {"thing": THINGS, "colour": COLOURS, "size": SIZES, "position": POSITIONS}
    for name, words in named.items():
        groups[name] = slice(start, start + len(words))
        start += len(words)
    return groups


GROUPS = word_groups()


@dataclass(frozen=True, slots=True)
class Pictures:
    """`pixels` [N,3,56,56] bytes; `words` [N,35], 1 where a caption has the word."""

    stages: tuple[Stage, ...]
    pixels: np.ndarray
    words: np.ndarray

    @property
    def is_single(self) -> np.ndarray:
        return self.words[:, GROUPS["thing"]].sum(1) == 1

    @property
    def first_things(self) -> np.ndarray:
        """[N] index of each scene's first thing."""
        return np.array([THINGS.index(s.actors[0].placed.thing) for s in self.stages])


def draw_pictures(count: int, pair_share: float, seed: int) -> Pictures:
    stages = tuple(draw_stages(count, pair_share, seed))
    pixels = np.stack([pooled_picture(stage) for stage in stages])
    return Pictures(stages, pixels, np.stack([word_target(stage) for stage in stages]))


def draw_stages(count: int, pair_share: float, seed: int) -> Iterator[Stage]:
    rng = Random(seed)
    for _ in range(count):
        yield stage(random_pair(rng) if rng.random() < pair_share else random_single(rng), rng)


def pooled_picture(stage: Stage) -> np.ndarray:
    """[3,56,56] bytes: drawn at full size, then averaged."""
    return np.asarray(render_image(stage, SIDE).reduce(POOL)).transpose(2, 0, 1)


def word_target(stage: Stage) -> np.ndarray:
    target = np.zeros(len(WORDS), np.float32)
    for actor in stage.actors:
        target[[_WORD_INDEX[word] for word in actor.placed.words]] = 1
    return target


def scene_of(stage: Stage) -> Scene:
    return Scene(tuple(actor.placed for actor in stage.actors))


def indices_by_thing(things: Sequence[int] | np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(np.asarray(things) == index) for index in range(len(THINGS))]
