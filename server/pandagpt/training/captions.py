"""Captions of toy-world scenes: every length from a bare name to all that is seen."""

from dataclasses import dataclass
from random import Random

from pandagpt.training.world.stage import Stage
from pandagpt.training.world.things import PLACES, Placed, with_article

OPENINGS = ("", "", "", "a photo of ", "a picture of ", "there is ", "this is ", "i can see ")
MENTION = 0.65


@dataclass(frozen=True, slots=True)
class Caption:
    """`words`: what the caption says, so that it fits every scene that has them all."""

    text: str
    words: frozenset[str]


def caption(stage: Stage, rng: Random) -> Caption:
    """Names every thing; mentions each attribute kind by lot, for all things alike."""
    kinds = [rng.random() < MENTION for _ in range(3)]
    things = list(stage.scene.things)
    rng.shuffle(things)
    parts = [_phrase(placed, *kinds) for placed in things]
    words = frozenset(word for placed in things for word in _words(placed, *kinds))
    return Caption(rng.choice(OPENINGS) + " and ".join(parts), words)


def _phrase(placed: Placed, colour: bool, size: bool, position: bool) -> str:
    adjectives = [placed.size] * size + [placed.colour] * colour
    phrase = with_article(" ".join(adjectives), placed.thing)
    return f"{phrase} {PLACES[placed.position]}" if position else phrase


def _words(placed: Placed, colour: bool, size: bool, position: bool) -> list[str]:
    linked = [f"{placed.colour} {placed.thing}"] * colour
    linked += [f"{placed.position} {placed.thing}"] * position
    return [placed.thing, *linked, *([placed.size] * size)]
