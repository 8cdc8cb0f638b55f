"""The question types about one thing, and what follows from what is known of it.

A `Seen` thing in, question and answer out. Knows no template, no tokens and no pixels. An
attribute that is not known (a sound has no colour) is answered with "I cannot tell".
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from pandagpt.training.corpus.facts import FACTS, Facts
from pandagpt.training.corpus.paraphrases import PARAPHRASES
from pandagpt.training.world.things import (
    PLACES,
    Placed,
    Position,
    Size,
    with_article,
)


@dataclass(frozen=True, slots=True)
class Seen:
    """A thing and as much as is known of its looks."""

    thing: str
    colour: str | None = None
    size: Size | None = None
    position: Position | None = None

    @classmethod
    def all_of(cls, placed: Placed) -> "Seen":
        return cls(placed.thing, placed.colour, placed.size, placed.position)

    @property
    def words(self) -> tuple[str, ...]:
        """The words that one slot adds up when a scene is given as a bag of words."""
        known = (self.size, self.colour, self.thing, self.position)
        return tuple(word for word in known if word is not None)

    @property
    def phrase(self) -> str:
        adjectives = " ".join(word for word in (self.size, self.colour) if word)
        named = with_article(adjectives, self.thing)
        return f"{named} {PLACES[self.position]}" if self.position else named

    @property
    def a(self) -> str:
        return with_article("", self.thing)

    @property
    def facts(self) -> Facts:
        return FACTS[self.thing]


Answer = Callable[[Seen], str]
Exchange = tuple[str, str]
"""A question and its answer."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One question type about one thing and how it is answered."""

    name: str
    answer: Answer
    key: Answer
    """What a right answer must contain."""
    in_sft: bool = False
    about_looks: bool = False

    @property
    def asks(self) -> tuple[str, ...]:
        return PARAPHRASES[self.name]


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _colour(seen: Seen) -> str:
    return f"It is {seen.colour}." if seen.colour else "I cannot tell its colour."


def _size(seen: Seen) -> str:
    return f"It is {seen.size}." if seen.size else "I cannot tell its size."


def _where(seen: Seen) -> str:
    return f"It is {PLACES[seen.position]}." if seen.position else "I cannot tell where it is."


def _known(word: str | None) -> str:
    return word or "cannot tell"


KINDS: tuple[Kind, ...] = (
    Kind(
        "name",
        lambda seen: f"This is {seen.a}.",
        lambda seen: seen.thing,
        in_sft=True,
    ),
    Kind(
        "see",
        lambda seen: f"I can see {seen.a}.",
        lambda seen: seen.thing,
        in_sft=True,
    ),
    Kind(
        "describe",
        lambda seen: f"{capital(seen.phrase)}.",
        lambda seen: capital(seen.phrase),
        in_sft=True,
        about_looks=True,
    ),
    Kind(
        "colour",
        _colour,
        lambda seen: _known(seen.colour),
        in_sft=True,
        about_looks=True,
    ),
    Kind(
        "size",
        _size,
        lambda seen: _known(seen.size),
        in_sft=True,
        about_looks=True,
    ),
    Kind(
        "where",
        _where,
        lambda seen: _known(seen.position),
        in_sft=True,
        about_looks=True,
    ),
    Kind(
        "hear",
        lambda seen: f"I can hear {seen.a}. It {seen.facts.verb}.",
        lambda seen: seen.thing,
    ),
    Kind(
        "sound",
        lambda seen: f"It {seen.facts.verb}: {seen.facts.noise}!",
        lambda seen: seen.facts.verb,
        in_sft=True,
    ),
    Kind(
        "made",
        lambda seen: f"It is made of {seen.facts.made_of}.",
        lambda seen: seen.facts.made_of,
    ),
    Kind(
        "use",
        lambda seen: f"It is good for {seen.facts.use}.",
        lambda seen: seen.facts.use,
    ),
    Kind(
        "heat",
        lambda seen: f"It is {seen.facts.heat}.",
        lambda seen: seen.facts.heat,
    ),
    Kind(
        "move",
        lambda seen: f"It is {seen.a}. It {seen.facts.move}.",
        lambda seen: seen.facts.move,
    ),
    Kind(
        "home",
        lambda seen: f"You can find it {seen.facts.home}.",
        lambda seen: seen.facts.home,
        in_sft=True,
    ),
    Kind(
        "fact",
        lambda seen: seen.facts.fact,
        lambda seen: seen.facts.fact,
    ),
    Kind(
        "story",
        lambda seen: f"Once upon a time there was {seen.a}. {seen.facts.story}",
        lambda seen: seen.facts.story,
    ),
    Kind(
        "alive",
        lambda seen: "Yes, it is alive." if seen.facts.alive else "No, it is not alive.",
        lambda seen: "Yes" if seen.facts.alive else "No",
        in_sft=True,
    ),
    Kind(
        "kind",
        lambda seen: f"{capital(seen.a)} is {seen.facts.kind}.",
        lambda seen: seen.facts.kind,
    ),
    Kind(
        "danger",
        lambda seen: "Be careful with it." if seen.facts.danger else "It is harmless.",
        lambda seen: "careful" if seen.facts.danger else "harmless",
    ),
    Kind(
        "word",
        lambda seen: f"{capital(seen.thing)}.",
        lambda seen: capital(seen.thing),
    ),
    Kind(
        "letter",
        lambda seen: f"It begins with {seen.thing[0].upper()}.",
        lambda seen: f"with {seen.thing[0].upper()}",
    ),
    Kind(
        "both",
        lambda seen: (
            f"{capital(with_article(seen.colour or '', seen.thing))}."
            + ("" if seen.colour else " I cannot tell its colour.")
        ),
        lambda seen: f"{seen.colour} {seen.thing}" if seen.colour else "cannot tell",
        about_looks=True,
    ),
)
BY_NAME = {kind.name: kind for kind in KINDS}
SFT_KINDS = tuple(kind.name for kind in KINDS if kind.in_sft)
HELD_OUT_KINDS = tuple(kind.name for kind in KINDS if not kind.in_sft)

MEDIA_NOUNS = ("picture", "image", "photo")
OTHER_MEDIA_NOUNS = ("video", "clip", "sound", "recording", "depth map", "thermal image", "scan")


def ask(rng: Random, kind: Kind, seen: Seen, nouns: tuple[str, ...] = MEDIA_NOUNS) -> str:
    template = rng.choice(kind.asks)
    if seen.thing in ("rain", "fire"):
        template = template.replace("a {thing}", "{thing}")
    return template.format(thing=seen.thing, medium=rng.choice(nouns))
