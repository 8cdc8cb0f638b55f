"""The tiny language model's corpus: endless dialogues about scenes that stand in words.

Random numbers in, `Dialogue`s out. A scene stands in the medium's place as a phrase, or as
a bag: its words' vectors added up to the one vector that a medium has. It is text either way;
no picture and no sound is involved here. Knows no tokens and no template.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from pandagpt.training.corpus import questions
from pandagpt.training.corpus.chatter import chatter, drill
from pandagpt.training.corpus.kinds import (
    BY_NAME,
    KINDS,
    MEDIA_NOUNS,
    OTHER_MEDIA_NOUNS,
    Exchange,
    Seen,
    ask,
    capital,
)
from pandagpt.training.world.things import COLOURS, POSITIONS, SIZES, THINGS, random_pair

Form = Literal["phrase", "bag"]


@dataclass(frozen=True, slots=True)
class Slot:
    """What stands for one medium: the things it holds, as a phrase or as added-up words."""

    things: tuple[Seen, ...]
    form: Form
    turn: int = 0
    """Before which question it stands."""

    @property
    def phrase(self) -> str:
        return " and ".join(seen.phrase for seen in self.things)

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(word for seen in self.things for word in seen.words)


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Media stand before the words of their questions, in order."""

    exchanges: tuple[Exchange, ...]
    slots: tuple[Slot, ...] = ()


def random_seen(rng: Random) -> Seen:
    """A thing of which all looks are known, some, or (as from a sound) none."""
    seen = Seen(rng.choice(THINGS), rng.choice(COLOURS), rng.choice(SIZES), rng.choice(POSITIONS))
    draw = rng.random()
    if draw < 0.5:
        return seen
    if draw < 0.65:
        return Seen(seen.thing)
    if draw < 0.8:
        return replace(seen, colour=None)
    hidden = {name: None for name in ("colour", "size", "position") if rng.random() < 0.4}
    return replace(seen, **hidden)


def about_one(rng: Random, seen: Seen) -> Exchange:
    """Names and looks are asked for most: they are learnt by density."""
    draw = rng.random()
    if draw < 0.72:
        looks = [kind for kind in KINDS if kind.about_looks]
        names = [BY_NAME["name"], BY_NAME["see"]]
        kind = rng.choice(names if draw < 0.14 else looks if draw < 0.44 else KINDS)
        return ask(rng, kind, seen, _nouns(rng)), kind.answer(seen)
    if draw < 0.80:
        return questions.is_thing(rng, (seen,))
    if draw < 0.95:
        closed = (questions.is_colour, questions.is_size, questions.is_place)
        found = questions.what_at(rng, (seen,)), questions.what_is_coloured(rng, (seen,))
        options = [*(make(rng, seen) for make in closed), *(each for each in found if each)]
        return rng.choice(options)
    return rng.choice((questions.count, questions.see_and_hear))(rng, (seen,))


def _nouns(rng: Random) -> tuple[str, ...]:
    return MEDIA_NOUNS if rng.random() < 0.5 else OTHER_MEDIA_NOUNS


def about_two(rng: Random, things: tuple[Seen, ...], bound: bool) -> Exchange:
    """`bound`: one can tell which look belongs to which thing (not so in one bag of words)."""
    draw = rng.random()
    if draw < (0.20 if bound else 0.40):
        return questions.name_both(rng, things)
    if draw < (0.28 if bound else 0.58):
        makers = (questions.see_and_hear, questions.hear_both, questions.count)
        return rng.choice(makers)(rng, things)
    if draw < (0.32 if bound else 0.70):
        return questions.is_thing(rng, things)
    if not bound or draw < 0.38:
        known = ("sound", "made", "use", "heat", "home", "kind")
        return questions.about_one_of(rng, things, known)
    if draw < 0.84:
        return questions.about_one_of(rng, things, ("colour", "size", "where"))
    if draw < 0.92:
        phrase = capital(" and ".join(seen.phrase for seen in things))
        return ask(rng, BY_NAME["describe"], things[0]), f"{phrase}."
    found = questions.what_at(rng, things), questions.what_is_coloured(rng, things)
    return rng.choice([each for each in found if each] or [questions.name_both(rng, things)])


def _turns(rng: Random, draw: Callable[[], Exchange]) -> tuple[Exchange, ...]:
    return tuple(draw() for _ in range(rng.choice((1, 2, 2, 3, 3, 4))))


def one_thing(rng: Random, form: Form) -> Dialogue:
    seen = random_seen(rng)
    return Dialogue(_turns(rng, lambda: about_one(rng, seen)), (Slot((seen,), form),))


def told_scene(rng: Random) -> Dialogue:
    """The scene is told in the question itself, with nothing attached."""
    if rng.random() < 0.25:
        things: tuple[Seen, ...] = (random_seen(rng),)
        exchanges = _turns(rng, lambda: about_one(rng, things[0]))
    else:
        things = tuple(map(Seen.all_of, random_pair(rng).things))
        exchanges = _turns(rng, lambda: about_two(rng, things, bound=True))
    (question, answer), *rest = exchanges
    scene = " and ".join(seen.phrase for seen in things)
    opening = rng.choice(("There is {s}.", "I see {s}.", "Imagine {s}.")).format(s=scene)
    return Dialogue(((f"{opening} {question}", answer), *rest))


def two_in_phrase(rng: Random) -> Dialogue:
    things = tuple(map(Seen.all_of, random_pair(rng).things))
    exchanges = _turns(rng, lambda: about_two(rng, things, bound=True))
    return Dialogue(exchanges, (Slot(things, "phrase"),))


def in_world_order(things: tuple[Seen, ...]) -> tuple[Seen, ...]:
    """A sum has no order, so its things are always named in the vocabulary's order."""
    return tuple(sorted(things, key=lambda seen: THINGS.index(seen.thing)))


def two_in_bag(rng: Random) -> Dialogue:
    """Two things added up to one vector; in one of four the same thing from several media."""
    if rng.random() < 0.25:
        seen = random_seen(rng)
        twins = (seen, *(Seen(seen.thing) for _ in range(rng.randint(1, 4))))
        return Dialogue(_turns(rng, lambda: about_one(rng, seen)), (Slot(twins, "bag"),))
    first, second = rng.sample(THINGS, 2)
    things = in_world_order(
        (replace(random_seen(rng), thing=first), replace(random_seen(rng), thing=second))
    )
    exchanges = _turns(rng, lambda: about_two(rng, things, bound=False))
    return Dialogue(exchanges, (Slot(things, "bag"),))


def two_slots(rng: Random, form: Form) -> Dialogue:
    """Two media in their order, now and then of the same thing."""
    first, second = random_seen(rng), random_seen(rng)
    if rng.random() < 0.15 or first.thing == second.thing:
        twins = (first, Seen(first.thing))
        exchanges = _turns(rng, lambda: _about_twins(rng, twins))
        return Dialogue(exchanges, tuple(Slot((seen,), form) for seen in twins))
    exchanges = _turns(rng, lambda: _about_ordered(rng, (first, second)))
    return Dialogue(exchanges, (Slot((first,), form), Slot((second,), form)))


def one_after_another(rng: Random, form: Form) -> Dialogue:
    """A second medium comes with the second question; `it` is the latest one."""
    first, second = random_seen(rng), random_seen(rng)
    exchanges = [about_one(rng, first), about_one(rng, second)]
    if first.thing != second.thing and rng.random() < 0.6:
        exchanges.append(_about_ordered(rng, (first, second)))
    return Dialogue(tuple(exchanges), (Slot((first,), form), Slot((second,), form, turn=1)))


def after_talk(rng: Random, form: Form) -> Dialogue:
    """A medium that comes after some talk without one."""
    drawn = one_thing(rng, form)
    talk = tuple(chatter(rng))[:2]
    slots = tuple(replace(slot, turn=len(talk)) for slot in drawn.slots)
    return Dialogue((*talk, *drawn.exchanges[:2]), slots)


def _about_twins(rng: Random, things: tuple[Seen, Seen]) -> Exchange:
    if rng.random() < 0.3:
        return rng.choice((questions.is_alike, questions.count))(rng, things)
    return about_one(rng, things[0])


def _about_ordered(rng: Random, things: tuple[Seen, Seen]) -> Exchange:
    if rng.random() < 0.2:
        return rng.choice((questions.ordinal, questions.is_alike))(rng, things)
    return about_two(rng, things, bound=True)


def two_places(rng: Random) -> Dialogue:
    """Which of two things is where, told or as a phrase."""
    things = tuple(map(Seen.all_of, random_pair(rng).things))

    def draw() -> Exchange:
        if rng.random() < 0.8:
            return questions.about_one_of(rng, things, ("where",))
        return questions.what_at(rng, things) or questions.name_both(rng, things)

    exchanges = tuple(draw() for _ in range(rng.choice((2, 3, 4))))
    if rng.random() < 0.4:
        return Dialogue(exchanges, (Slot(things, "phrase"),))
    (question, answer), *rest = exchanges
    scene = " and ".join(seen.phrase for seen in things)
    return Dialogue(((f"There is {scene}. {question}", answer), *rest))


def only_names(rng: Random) -> Dialogue:
    """One thing or two, in one vector or in two: what is there, and is that all?"""
    first, second = random_seen(rng), random_seen(rng)
    draw = rng.random()
    if draw < 0.35 or first.thing == second.thing:
        kind = BY_NAME[rng.choice(("name", "see", "hear"))]
        slot = Slot((first,), "bag")
        return Dialogue(((ask(rng, kind, first, _nouns(rng)), kind.answer(first)),), (slot,))
    makers = (questions.name_both, questions.name_both, questions.hear_both, questions.see_and_hear)
    maker = rng.choice(makers)
    if draw < 0.65:
        things = in_world_order((first, second))
        return Dialogue((maker(rng, things),), (Slot(things, "bag"),))
    slots = (Slot((first,), "bag"), Slot((second,), "bag"))
    return Dialogue((maker(rng, (first, second)),), slots)


OPENINGS = ("Please tell me: ", "Hey, ", "Hi! ", "So, ", "Now: ")


def styled(rng: Random, question: str) -> str:
    """As people type: lower case, no final mark, a please."""
    if rng.random() < 0.1:
        question = rng.choice(OPENINGS) + question
    if rng.random() < 0.25:
        question = question.rstrip("?.!")
    return question.lower() if rng.random() < 0.3 else question


Mixture = tuple[tuple[Callable[[Random], Dialogue], float], ...]
MIXTURE: Mixture = (
    (lambda rng: one_thing(rng, "bag"), 0.20),
    (lambda rng: one_thing(rng, "phrase"), 0.03),
    (told_scene, 0.13),
    (two_in_phrase, 0.11),
    (two_in_bag, 0.11),
    (lambda rng: two_slots(rng, "bag"), 0.12),
    (lambda rng: two_slots(rng, "phrase"), 0.02),
    (lambda rng: one_after_another(rng, "bag"), 0.03),
    (lambda rng: after_talk(rng, "bag"), 0.02),
    (lambda rng: Dialogue(tuple(chatter(rng))), 0.09),
    (lambda rng: Dialogue((drill(rng),)), 0.14),
)


LAST_MIXTURE: Mixture = (
    *((maker, weight * 0.45) for maker, weight in MIXTURE),
    (two_places, 0.25),
    (only_names, 0.30),
)


def dialogue(rng: Random, mixture: Mixture = MIXTURE) -> Dialogue:
    makers, weights = zip(*mixture, strict=True)
    drawn = rng.choices(makers, weights)[0](rng)
    exchanges = tuple((styled(rng, asked), answer) for asked, answer in drawn.exchanges)
    return replace(drawn, exchanges=exchanges)


# The first dialogues are mostly drills. Copying and binding form suddenly or, drowned in all
# the rest, not at all: without the drills neither had formed after 2,500 steps.
NUM_PRIMER = 26_000
PRIMER_DRILLS = 0.75


def corpus(seed: int) -> Iterator[Dialogue]:
    rng = Random(seed)
    for _ in range(NUM_PRIMER):
        yield Dialogue((drill(rng),)) if rng.random() < PRIMER_DRILLS else dialogue(rng)
    while True:
        yield dialogue(rng)


def last_corpus(seed: int) -> Iterator[Dialogue]:
    """What comes last to the language model: places of two things, and whether one is all."""
    rng = Random(f"last {seed}")
    while True:
        yield dialogue(rng, LAST_MIXTURE)
