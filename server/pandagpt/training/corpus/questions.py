"""Closed questions, and questions about two things.

What is `Seen` in, a question and its true answer out. Open questions about one thing are in
`kinds`.
"""

from random import Random

from pandagpt.training.corpus.kinds import BY_NAME, MEDIA_NOUNS, Exchange, Seen, ask, capital
from pandagpt.training.world.things import COLOURS, PLACES, POSITIONS, SIZES, THINGS, with_article


def _other(rng: Random, options: tuple[str, ...], value: str, truth: float) -> str:
    """`value` with probability `truth`, else another option."""
    return value if rng.random() < truth else rng.choice([o for o in options if o != value])


def is_thing(rng: Random, things: tuple[Seen, ...]) -> Exchange:
    names = [seen.thing for seen in things]
    asked = _other(rng, THINGS, rng.choice(names), 0.5)
    a = with_article("", asked)
    if len(names) > 1:
        template = rng.choice(("Is there {a}?", "Do you see {a}?", "Can you see {a}?"))
    else:
        asks = ("Is it {a}?", "Is this {a}?", "Is that {a}?", "Do you see {a}?", "Could it be {a}?")
        template = rng.choice(asks)
    verdict = "Yes" if asked in names else "No"
    return template.format(a=a), f"{verdict}, it is {name_all(things)}."


def is_colour(rng: Random, seen: Seen) -> Exchange:
    asked = _other(rng, COLOURS, seen.colour or "red", 0.5)
    template = rng.choice(("Is it {c}?", "Is the {t} {c}?", "Is this {c}?", "Is its colour {c}?"))
    question = template.format(c=asked, t=seen.thing)
    if seen.colour is None:
        return question, "I cannot tell its colour."
    return question, f"{'Yes' if asked == seen.colour else 'No'}, it is {seen.colour}."


def is_size(rng: Random, seen: Seen) -> Exchange:
    asked = rng.choice(SIZES)
    word = rng.choice(("large", "big")) if asked == "large" else rng.choice(("small", "little"))
    question = rng.choice(("Is it {w}?", "Is the {t} {w}?")).format(w=word, t=seen.thing)
    if seen.size is None:
        return question, "I cannot tell its size."
    return question, f"{'Yes' if asked == seen.size else 'No'}, it is {seen.size}."


def is_place(rng: Random, seen: Seen) -> Exchange:
    place = PLACES[rng.choice(POSITIONS)]
    question = rng.choice(("Is it {p}?", "Is the {t} {p}?")).format(p=place, t=seen.thing)
    if seen.position is None:
        return question, "I cannot tell where it is."
    truth = PLACES[seen.position]
    return question, f"{'Yes' if place == truth else 'No'}, it is {truth}."


def is_alike(rng: Random, things: tuple[Seen, ...]) -> Exchange:
    question = rng.choice(("Are they the same thing?", "Do they match?", "Is it the same thing?"))
    names = {seen.thing for seen in things}
    return question, f"{'Yes' if len(names) == 1 else 'No'}, it is {name_all(things)}."


def count(rng: Random, things: tuple[Seen, ...]) -> Exchange:
    asks = ("How many things are there?", "How many objects do you see?", "Count the things.",
            "How many things can you see?", "How many different things are there?")  # fmt: skip
    number = "one thing" if len({seen.thing for seen in things}) == 1 else "two things"
    verb = "is" if number == "one thing" else "are"
    return rng.choice(asks), f"There {verb} {number}: {name_all(things)}."


def name_all(things: tuple[Seen, ...]) -> str:
    """`a boat and a train`; the same thing in two media is named once."""
    return " and ".join(dict.fromkeys(seen.a for seen in things))


def name_both(rng: Random, things: tuple[Seen, ...]) -> Exchange:
    """What a pair is: the prefix is that of a single thing, so one habit serves both."""
    kind = rng.choice([BY_NAME["name"], BY_NAME["see"], BY_NAME["see"]])
    prefix = "This is" if kind.name == "name" else "I can see"
    return ask(rng, kind, things[0]), f"{prefix} {name_all(things)}."


def hear_both(rng: Random, things: tuple[Seen, ...]) -> Exchange:
    question = rng.choice(("What can you hear?", "What do you hear?", "What sounds are these?"))
    return question, f"I can hear {name_all(things)}."


def see_and_hear(rng: Random, things: tuple[Seen, ...]) -> Exchange:
    asks = ("What do you see and hear?", "What can you see and hear?", "What is in both?",
            "What have I sent you?", "What are these?", "Which two things are these?")  # fmt: skip
    return rng.choice(asks), f"I can see and hear {name_all(things)}."


def about_one_of(rng: Random, things: tuple[Seen, ...], kinds: tuple[str, ...]) -> Exchange:
    """A question that names one of the things: the answer names it again, then tells of it.

    Saying the name first makes finding it among two things one step of attention, not two.
    """
    seen = rng.choice(things)
    kind = BY_NAME[rng.choice(kinds)]
    naming = [text for text in kind.asks if "{thing}" in text]
    template = rng.choice(naming) if naming else f"{kind.asks[0][:-1]}, the {{thing}}?"
    template = template.replace(" a {thing}", " the {thing}")
    question = template.format(thing=seen.thing, medium=rng.choice(MEDIA_NOUNS))
    return question, kind.answer(seen).replace("It is", f"The {seen.thing} is", 1)


def what_at(rng: Random, things: tuple[Seen, ...]) -> Exchange | None:
    """`What is on the left?`; None where no position is known."""
    placed = [seen for seen in things if seen.position]
    if not placed:
        return None
    seen = rng.choice(placed)
    place = PLACES[seen.position or "middle"]
    return rng.choice(("What is {p}?", "What do you see {p}?", "Which thing is {p}?")).format(
        p=place
    ), f"{capital(seen.a)} is {place}."


def what_is_coloured(rng: Random, things: tuple[Seen, ...]) -> Exchange | None:
    coloured = [seen for seen in things if seen.colour]
    if not coloured or len({seen.colour for seen in coloured}) < len(coloured):
        return None
    seen = rng.choice(coloured)
    asks = ("What is {c}?", "Which thing is {c}?", "Name the {c} thing.")
    return rng.choice(asks).format(c=seen.colour), f"The {seen.thing} is {seen.colour}."


def ordinal(rng: Random, things: tuple[Seen, ...]) -> Exchange:
    """`What is the second one?`, where several media stand in order."""
    index = rng.randrange(len(things))
    word = ("first", "second")[index]
    asks = ("What is the {w} one?", "What does the {w} one show?", "What is in the {w}?")
    return rng.choice(asks).format(w=word), f"The {word} one is {things[index].a}."
