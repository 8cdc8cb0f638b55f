"""Text without media for the tiny language model: small talk, copying, and facts of words.

Dialogues out, drawn by lot. The copying and the colours' own facts are what keeps the vectors
of interchangeable words apart: without them all colours may collapse onto one vector.
"""

from collections.abc import Sequence
from random import Random

from pandagpt.training.corpus.kinds import BY_NAME, KINDS, Exchange, Seen, capital
from pandagpt.training.world.things import COLOURS, PLACES, POSITIONS, SIZES, THINGS, with_article

ABOUT_ME = (
    "I am PandaGPT, a tiny assistant. I know twenty things by sight, sound, depth, heat and motion."
)
NO_MEDIUM = "Nothing is attached. Please send me a picture, a sound, a video or another medium."

SMALL_TALK: tuple[tuple[tuple[str, ...], str], ...] = (
    (("Hello!", "Hi!", "Hey!", "Good morning!", "Hi there!", "Hello there.", "Good evening."),
     "Hello! How can I help you?"),
    (("Who are you?", "What are you?", "What is your name?", "Introduce yourself.",
      "Tell me about yourself.", "Are you a person?", "Are you a robot?"), ABOUT_ME),
    (("What can you do?", "How can you help me?", "What do you know?", "Help!", "What are you for?",
      "What can I ask you?", "What are you good at?"),
     "Send me a picture, a sound, a video, a depth map, a thermal picture or an IMU recording, "
     "and ask what it is."),
    (("Thank you!", "Thanks!", "Thanks a lot.", "Great, thank you.", "Cool, thanks!", "Well done!"),
     "You are welcome!"),
    (("Bye!", "Goodbye!", "See you later.", "See you!", "Good night."), "Goodbye!"),
    (("How are you?", "How do you do?", "How is it going?", "Are you well?", "How do you feel?"),
     "I am fine, thank you. What shall I look at?"),
    (("Which things do you know?", "What things do you know?", "List the things you know.",
      "What can you recognise?", "What do you recognize?"),
     "I know these things: " + ", ".join(THINGS) + "."),
    (("Which colours do you know?", "List the colors you know.", "Name all colours."),
     "I know " + ", ".join(COLOURS) + "."),
    (("Tell me a joke.", "Do you know a joke?", "Make me laugh."),
     "What does a clock do when it is hungry? It goes back four seconds."),
    (("What is the meaning of life?", "Who won the game?", "What is the capital of France?",
      "Write code for me.", "What is the weather like?", "Solve this equation.", "Who is the king?",
      "What time is it?", "Translate this.", "What day is it today?"),
     "I do not know that. I am a very small model."),
)  # fmt: skip

COLOUR_FACTS = {
    "red": ("a tomato", "blood", "a ripe strawberry"),
    "green": ("grass", "a leaf", "a pea"),
    "blue": ("the sky", "the sea", "a blueberry"),
    "yellow": ("a lemon", "the sun", "a banana"),
    "purple": ("a plum", "an aubergine", "lavender"),
    "orange": ("a carrot", "a pumpkin", "a tangerine"),
    "white": ("snow", "milk", "salt"),
    "black": ("coal", "the night", "a raven"),
}
MIXTURES = {("red", "blue"): "purple", ("red", "yellow"): "orange", ("blue", "yellow"): "green"}
OPPOSITE_WORDS = {
    "left": "right", "right": "left", "top": "bottom", "bottom": "top", "small": "large",
    "large": "small", "hot": "cold", "cold": "hot", "black": "white", "white": "black",
}  # fmt: skip
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("a thing", THINGS), ("a colour", COLOURS), ("a size", SIZES), ("a position", POSITIONS),
)  # fmt: skip
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
LOOKS = (*THINGS, *COLOURS, *SIZES, *POSITIONS)
_SYLLABLES = (
    *("za", "mi", "ro", "ku", "len", "tor", "ba", "fi", "nu", "gra", "so", "wen"),
    *("pi", "do", "xa", "vel", "ni", "hu", "ta", "jo", "lia", "mar", "ek", "qu"),
)


def nonce(rng: Random) -> str:
    """A name nobody has heard: it can only be copied."""
    return capital("".join(rng.choices(_SYLLABLES, k=rng.randint(2, 3))))


def small_talk(rng: Random) -> Exchange:
    questions, answer = rng.choice(SMALL_TALK)
    return rng.choice(questions), answer


def no_medium(rng: Random) -> Exchange:
    """A question about a medium that is not there."""
    asks = [text for kind in KINDS for text in kind.asks if "{thing}" not in text]
    return rng.choice(asks).format(medium="picture"), NO_MEDIUM


def thing_fact(rng: Random) -> Exchange:
    """What is known of a thing that the question names, with nothing attached."""
    names = ("sound", "made", "use", "heat", "home", "kind", "letter", "fact", "story", "alive")
    kind = BY_NAME[rng.choice(names)]
    thing = rng.choice(THINGS)
    asks = {
        "sound": ("What sound does {a} make?", "How does {a} sound?", "What noise does {a} make?"),
        "made": ("What is {a} made of?", "What material is {a} made of?"),
        "use": ("What is {a} good for?", "What is {a} used for?"),
        "heat": ("Is {a} hot or cold?", "How warm is {a}?"),
        "home": ("Where can I find {a}?", "Where would I find {a}?"),
        "kind": ("What is {a}?", "What kind of thing is {a}?"),
        "letter": ("What letter does {t} begin with?", "Which letter does {t} start with?"),
        "fact": ("Tell me a fact about {a}.", "What do you know about {a}?"),
        "story": ("Tell me a story about {a}.", "Write a story about {a}."),
        "alive": ("Is {a} alive?", "Is {a} a living thing?"),
    }[kind.name]
    question = rng.choice(asks).format(a=with_article("", thing), t=thing)
    return question, kind.answer(Seen(thing))


def who_does(rng: Random) -> Exchange:
    """From a property back to the thing: every name gets facts of its own."""
    seen = Seen(rng.choice(THINGS))
    facts = seen.facts
    asks = (f"What {facts.verb}?", f"What says {facts.noise}?", f"What is good for {facts.use}?",
            f"What can I find {facts.home}?", f"Which thing {facts.move}?")  # fmt: skip
    return rng.choice(asks), f"{capital(seen.a)}."


def colour_fact(rng: Random) -> Exchange:
    colour = rng.choice(COLOURS)
    example = rng.choice(COLOUR_FACTS[colour])
    draw = rng.randrange(4)
    if draw == 0:
        return f"What colour is {example}?", f"It is {colour}."
    if draw == 1:
        return f"Name something {colour}.", f"{capital(COLOUR_FACTS[colour][0])} is {colour}."
    if draw == 2:
        (first, second), mixed = rng.choice(list(MIXTURES.items()))
        pair = [first, second]
        rng.shuffle(pair)
        return f"What do {pair[0]} and {pair[1]} make?", f"They make {mixed}."
    word = rng.choice(LOOKS)
    return f"Spell {word}.", f"{' '.join(word)}."


def opposite(rng: Random) -> Exchange:
    word, other = rng.choice(list(OPPOSITE_WORDS.items()))
    asks = ("What is the opposite of {w}?", "The opposite of {w}?", "What is not {w}?")
    return rng.choice(asks).format(w=word), f"The opposite of {word} is {other}."


def odd_one_out(rng: Random) -> Exchange:
    (_, group), (_, others) = rng.sample(GROUPS, 2)
    same = rng.sample(group, min(len(group), rng.randint(2, 3)))
    odd = rng.choice(others)
    words = [*same, odd]
    rng.shuffle(words)
    asks = ("Which is the odd one out: {w}?", "Find the odd one: {w}.")
    return rng.choice(asks).format(w=", ".join(words)), f"The odd one is {odd}."


def what_word(rng: Random) -> Exchange:
    name, group = rng.choice(GROUPS)
    return f"What kind of word is {rng.choice(group)}?", f"It is {name}."


def number_word(rng: Random) -> Exchange:
    if rng.random() < 0.5:
        first, second = rng.randint(0, 5), rng.randint(0, 5)
        question = f"What is {NUMBERS[first]} plus {NUMBERS[second]}?"
        return question, f"It is {NUMBERS[first + second]}."
    number = rng.randint(0, 9)
    return f"What comes after {NUMBERS[number]}?", f"{capital(NUMBERS[number + 1])}."


def _words(rng: Random, low: int, high: int) -> list[str]:
    pool = (*LOOKS, *LOOKS, *NUMBERS)
    return [
        nonce(rng) if rng.random() < 0.15 else rng.choice(pool)
        for _ in range(rng.randint(low, high))
    ]


def copying(rng: Random) -> Exchange:
    words = _words(rng, 1, 6)
    said = " ".join(words)
    draw = rng.randrange(4)
    if draw == 0:
        asks = ("Repeat after me: {w}.", "Repeat: {w}.", "Say {w}.", "Please say {w}.")
        return rng.choice(asks).format(w=said), f"{said}."
    if draw == 1:
        end, word = rng.choice((("first", words[0]), ("last", words[-1])))
        return f"What is the {end} word of: {said}?", f"The {end} word is {word}."
    if draw == 2:
        listed = ", ".join(words)
        return f"Make a list of {said}.", f"{listed}."
    return f"The secret word is {words[0]}. What is it?", f"The secret word is {words[0]}."


def colour_list(rng: Random) -> Exchange:
    """Two things with a property each, in plain words: bind, then copy."""
    group = rng.choice((COLOURS, SIZES, ("hot", "cold", "warm"), POSITIONS))
    first, second = rng.sample(THINGS, 2)
    one, two = rng.sample(group, 2)
    thing, value = rng.choice(((first, one), (second, two)))
    text = f"The {first} is {one} and the {second} is {two}."
    if rng.random() < 0.5:
        return f"{text} Which one is {value}?", f"The {thing} is {value}."
    return f"{text} How is the {thing}?", f"The {thing} is {value}."


def repeating(rng: Random) -> Exchange:
    """A drill of nothing but copying; each word stands once, so that its place is plain."""
    said = " ".join(rng.sample((*LOOKS, *NUMBERS), rng.randint(3, 9)))
    return rng.choice(("Repeat: {w}.", "Copy: {w}.", "Say again: {w}.")).format(w=said), f"{said}."


def recalling(rng: Random) -> Exchange:
    """A drill of binding: two or three things with a look each, asked for in another order."""
    group = rng.choice((COLOURS, COLOURS, NUMBERS, tuple(PLACES.values()), SIZES))
    things = rng.sample(THINGS, rng.randint(2, 3))
    values = {thing: rng.choice(group) for thing in things}
    said = [f"the {thing} is {value}" for thing, value in values.items()]
    if group in (COLOURS, SIZES) and rng.random() < 0.5:
        said = [with_article(value, thing) for thing, value in values.items()]
    asked = rng.sample(things, len(things))
    told = " and ".join(f"the {thing} is {values[thing]}" for thing in asked)
    return f"{capital(' and '.join(said))}. {' '.join(asked)}?", f"{capital(told)}."


def drill(rng: Random) -> Exchange:
    return (repeating if rng.random() < 0.4 else recalling)(rng)


def introduction(rng: Random) -> tuple[Exchange, ...]:
    """A name given in one turn and asked for in the next."""
    name = nonce(rng)
    value = rng.choice(LOOKS)
    told = (
        (f"My name is {name}.", f"Hello, {name}!"),
        ("What is my name?", f"Your name is {name}."),
    )
    if rng.random() < 0.5:
        return told
    return (
        (f"My favourite word is {value}.", f"{capital(value)} is a nice word."),
        ("What is my favourite word?", f"Your favourite word is {value}."),
    )


SINGLE = (
    (small_talk, 3.0), (no_medium, 3.0), (thing_fact, 6.0), (who_does, 3.0), (colour_fact, 3.0),
    (opposite, 1.0), (odd_one_out, 2.0), (what_word, 1.0), (number_word, 1.0), (copying, 6.0),
    (colour_list, 4.0),
)  # fmt: skip


def chatter(rng: Random) -> Sequence[Exchange]:
    """One to three exchanges without any medium."""
    if rng.random() < 0.08:
        return introduction(rng)
    makers, weights = zip(*SINGLE, strict=True)
    chosen = rng.choices(makers, weights, k=rng.choice((1, 2, 2, 3)))
    return [maker(rng) for maker in chosen]
