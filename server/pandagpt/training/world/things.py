"""The vocabulary of the toy world, and what one scene of it holds.

Words in, words out: which things, colours, sizes and places exist, and how a scene is drawn
by lot. Knows nothing of pixels, sounds or tensors; the renderers beside it do.
"""

from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

Size = Literal["small", "large"]
Position = Literal["left", "right", "top", "bottom", "middle"]

THINGS = (
    *("bell", "drum", "bird", "dog", "cat", "car", "train", "rain", "clock", "kettle"),
    *("siren", "guitar", "frog", "bee", "wave", "fire", "helicopter", "horse", "boat", "phone"),
)
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "white", "black")
SIZES: tuple[Size, ...] = get_args(Size)
POSITIONS: tuple[Position, ...] = get_args(Position)
# Every word a caption can teach, in the order of the word targets.
WORDS = (*THINGS, *COLOURS, *SIZES, *POSITIONS)

# Two things stand on opposite sides, so that even large ones do not cover each other.
OPPOSITES: dict[Position, Position] = {
    "left": "right",
    "right": "left",
    "top": "bottom",
    "bottom": "top",
}
PLACES: dict[Position, str] = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "middle": "in the middle",
}
MASS_NOUNS = frozenset({"rain", "fire"})


@dataclass(frozen=True, slots=True)
class Placed:
    """One thing of a scene, with all that can be asked about it."""

    thing: str
    colour: str
    size: Size
    position: Position

    @property
    def words(self) -> tuple[str, ...]:
        return (self.thing, self.colour, self.size, self.position)

    @property
    def phrase(self) -> str:
        """`a small red car on the left`."""
        return f"{with_article(f'{self.size} {self.colour}', self.thing)} {PLACES[self.position]}"


@dataclass(frozen=True, slots=True)
class Scene:
    """One thing, or two on opposite sides."""

    things: tuple[Placed, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(placed.thing for placed in self.things)

    @property
    def phrase(self) -> str:
        return " and ".join(placed.phrase for placed in self.things)


def with_article(adjectives: str, thing: str) -> str:
    """`a red car`, `an orange bell`, `red rain`; `adjectives` may be empty."""
    words = f"{adjectives} {thing}".strip()
    if thing in MASS_NOUNS:
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def random_placed(rng: Random, thing: str, position: Position) -> Placed:
    return Placed(thing, rng.choice(COLOURS), rng.choice(SIZES), position)


def random_single(rng: Random, thing: str | None = None) -> Scene:
    position = rng.choice(POSITIONS)
    return Scene((random_placed(rng, thing or rng.choice(THINGS), position),))


def random_pair(rng: Random) -> Scene:
    """Two different things, on opposite sides."""
    first, second = rng.sample(THINGS, 2)
    position = rng.choice(tuple(OPPOSITES))
    return Scene(
        (
            random_placed(rng, first, position),
            random_placed(rng, second, OPPOSITES[position]),
        )
    )
