"""Pictures of the toy world as cached embeddings, and what can be drawn from them.

Scenes and their image embeddings in; single, paired and averaged embeddings out, each with what
can be told of it. Averages leave out what differs between the pictures: the shape in which a
sound (no looks) or a depth map (no colour) arrives, though only pictures are ever used.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor

from pandagpt.training.corpus.kinds import Seen
from pandagpt.training.world.things import Scene

# The mean over a recording's clips is shorter than one embedding, which has length one.
LENGTHS = (0.85, 1.0)


@dataclass(frozen=True, slots=True)
class Shown:
    """One embedding [E] and what it shows."""

    things: tuple[Seen, ...]
    embedding_E: Tensor


class Gallery:
    """`noise` is the longest Gaussian step, against embeddings of length one (CapDec's trick:
    the language side learns to bear the gap between the modalities)."""

    def __init__(self, scenes: Sequence[Scene], embedding_NE: Tensor, noise: float) -> None:
        self.scenes = scenes
        self.embedding_NE = embedding_NE
        self.noise = noise
        self.singles = [i for i, scene in enumerate(scenes) if len(scene.things) == 1]
        self.pairs = [i for i, scene in enumerate(scenes) if len(scene.things) == 2]
        self._alike: dict[Hashable, list[int]] = {}
        for i in self.singles:
            placed = scenes[i].things[0]
            for key in (placed.thing, (placed.thing, placed.size, placed.position)):
                self._alike.setdefault(key, []).append(i)

    def single(self, rng: Random) -> Shown:
        index = rng.choice(self.singles)
        return self._shown((Seen.all_of(self.scenes[index].things[0]),), [index], rng)

    def pair(self, rng: Random) -> Shown:
        """One picture of two things."""
        index = rng.choice(self.pairs)
        return self._shown(tuple(map(Seen.all_of, self.scenes[index].things)), [index], rng)

    def without_looks(self, rng: Random, thing: str | None = None) -> Shown:
        """The mean of many pictures of one thing."""
        thing = thing or self.scenes[rng.choice(self.singles)].things[0].thing
        alike = self._alike[thing]
        return self._shown((Seen(thing),), rng.choices(alike, k=rng.randint(10, 24)), rng)

    def without_colour(self, rng: Random) -> Shown:
        """The mean of pictures that differ in colour alone."""
        placed = self.scenes[rng.choice(self.singles)].things[0]
        alike = self._alike[(placed.thing, placed.size, placed.position)]
        seen = replace(Seen.all_of(placed), colour=None)
        return self._shown((seen,), rng.choices(alike, k=rng.randint(8, 16)), rng)

    def any_single(self, rng: Random) -> Shown:
        kinds = (self.single, self.without_looks, self.without_colour)
        return rng.choices(kinds, (0.58, 0.34, 0.08))[0](rng)

    def _shown(self, things: tuple[Seen, ...], rows: Sequence[int], rng: Random) -> Shown:
        mean_E = F.normalize(self.embedding_NE[list(rows)].mean(0), dim=0)
        sigma = rng.uniform(0, self.noise) * mean_E.numel() ** -0.5
        noisy_E = F.normalize(mean_E + sigma * torch.randn_like(mean_E), dim=0)
        return Shown(things, noisy_E * rng.uniform(*LENGTHS))
