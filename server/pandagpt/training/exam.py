"""The questions that a toy-world model is measured by, with real files as their media.

A number of items in, `Item`s out: media bytes read by `media.load`, a conversation, and what a
right answer holds. Scenes and recordings come from seeds that training never uses.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

from pandagpt.engine.request import MediaInput
from pandagpt.media.limits import MediaLimits
from pandagpt.media.loader import digest, load
from pandagpt.media.modality import Modality
from pandagpt.media.options import MediaOptions
from pandagpt.model.prompt import Fusion, MediaRef, Turn
from pandagpt.training.corpus.kinds import BY_NAME, HELD_OUT_KINDS, Seen
from pandagpt.training.gate import PROBES
from pandagpt.training.heldout import held_out
from pandagpt.training.world.things import COLOURS, POSITIONS, SIZES, THINGS, Placed

SEED = 7_000_000
MEDIA = (
    Modality.IMAGE,
    Modality.AUDIO,
    Modality.IMU,
    Modality.THERMAL,
    Modality.DEPTH,
    Modality.VIDEO,
)
COMPOSED = (Modality.AUDIO, Modality.IMU, Modality.THERMAL, Modality.DEPTH)
FUSIONS: tuple[Fusion, ...] = ("sum", "interleave")
LOOKS = {"colour": COLOURS, "size": SIZES, "where": POSITIONS}


@dataclass(frozen=True, slots=True)
class Sample:
    """One file and what can be told of it: one thing, or two."""

    things: tuple[Seen, ...]
    medium: MediaInput

    @property
    def seen(self) -> Seen:
        return self.things[0]


@dataclass(frozen=True, slots=True)
class Item:
    """`group` and `column` say which cell of the tables it counts for.

    Right is an answer that holds every one of `keys` and none of `wrong`.
    """

    group: str
    column: str
    turns: tuple[Turn, ...]
    media: tuple[MediaInput, ...]
    fusion: Fusion
    keys: tuple[str, ...]
    wrong: tuple[str, ...] = ()

    def is_right(self, answer: str) -> bool:
        words = answer.replace(".", " ").replace(",", " ").split()
        return all(key in answer for key in self.keys) and not set(self.wrong) & set(words)


def samples(modality: Modality, count: int, *, pairs: bool = False) -> Iterator[Sample]:
    for each in held_out(modality, count, pairs=pairs, seed=MEDIA.index(modality)):
        seen = tuple(known_of(modality, placed) for placed in each.scene.things)
        yield Sample(seen, read(modality, each.data))


def known_of(modality: Modality, placed: Placed) -> Seen:
    """What the sense can tell: sounds and motions have no looks, depth and heat no colour."""
    if modality in (Modality.AUDIO, Modality.IMU):
        return Seen(placed.thing)
    seen = Seen.all_of(placed)
    colourless = modality in (Modality.DEPTH, Modality.THERMAL)
    return replace(seen, colour=None) if colourless else seen


def read(modality: Modality, data: bytes) -> MediaInput:
    options = MediaOptions()
    array = load(modality, data, options, MediaLimits())
    return MediaInput(modality, array, digest(modality, data, options))


def items(count: int) -> Iterator[Item]:
    """About `count` items a cell; drawn one by one, since a film of 15 views is 18 MB."""
    rng = Random(SEED)
    kept: dict[Modality, list[Sample]] = {modality: [] for modality in MEDIA}
    for modality in MEDIA:
        for number, sample in enumerate(samples(modality, _affordable(modality, count))):
            yield _naming(modality, sample, rng)
            yield from _looks(modality, sample, rng)
            if modality is not Modality.VIDEO:
                kept[modality].append(sample)
                if number % 2 == 0:
                    yield from _held_out(modality, sample, rng)
    for modality in (Modality.IMAGE, Modality.AUDIO):
        for sample in samples(modality, count // 2, pairs=True):
            yield _both(f"two things in one {modality}", modality, (sample,), "interleave", rng)
    for modality in COMPOSED:
        for fusion in FUSIONS:
            yield from _composed(kept[Modality.IMAGE], kept[modality], fusion, rng)
    yield from _plain(count)


def _asking(question: str, media: int) -> tuple[Turn, ...]:
    return (Turn("user", (*map(MediaRef, range(media)), question)),)


def _plain_ask(rng: Random, name: str) -> str:
    """A paraphrase that gives nothing away."""
    return rng.choice([text for text in BY_NAME[name].asks if "{" not in text])


def _naming(modality: Modality, sample: Sample, rng: Random) -> Item:
    thing = sample.seen.thing
    return Item(
        "naming", modality.value, _asking(_plain_ask(rng, "name"), 1), (sample.medium,),
        "interleave", (thing,), tuple(other for other in THINGS if other != thing),
    )  # fmt: skip


def _looks(modality: Modality, sample: Sample, rng: Random) -> Iterator[Item]:
    for name, words in LOOKS.items():
        key = BY_NAME[name].key(sample.seen)
        yield Item(
            f"looks: {name}", modality.value, _asking(_plain_ask(rng, name), 1),
            (sample.medium,), "interleave", (key,), tuple(word for word in words if word != key),
        )  # fmt: skip


def _held_out(modality: Modality, sample: Sample, rng: Random) -> Iterator[Item]:
    for name in HELD_OUT_KINDS:
        yield Item(
            f"held out: {name}", modality.value, _asking(_plain_ask(rng, name), 1),
            (sample.medium,), "interleave", (BY_NAME[name].key(sample.seen),),
        )  # fmt: skip


def _composed(
    pictures: list[Sample], others: list[Sample], fusion: Fusion, rng: Random
) -> Iterator[Item]:
    """A picture of one thing and another sense of another thing: both must be named."""
    for picture in pictures:
        other = rng.choice([each for each in others if each.seen.thing != picture.seen.thing])
        modality = other.medium.modality
        yield _both(f"image and this: {fusion}", modality, (picture, other), fusion, rng)


def _both(
    group: str, modality: Modality, media: tuple[Sample, ...], fusion: Fusion, rng: Random
) -> Item:
    """Two things, in one medium or in two: both must be named, and no third."""
    names = tuple(seen.thing for sample in media for seen in sample.things)
    return Item(
        group, modality.value, _asking(_plain_ask(rng, "see"), len(media)),
        tuple(sample.medium for sample in media), fusion, names,
        tuple(thing for thing in THINGS if thing not in names),
    )  # fmt: skip


def _affordable(modality: Modality, count: int) -> int:
    """Films are dear to draw and to read."""
    return max(1, count // 2) if modality is Modality.VIDEO else count


def _plain(count: int) -> Iterator[Item]:
    """Scenes told in words, nothing attached (gate G2)."""
    for name, probe in PROBES.items():
        rng = Random(f"{SEED} {name}")
        for dialogue in (probe(rng) for _ in range(count // 2)):
            if dialogue.slots or len(dialogue.exchanges) > 1:
                continue
            question, answer = dialogue.exchanges[0]
            yield Item("plain text", name, _asking(question, 0), (), "interleave", (answer,))
