"""The corpus: answers follow from the scene, nothing is claimed that is not known."""

from itertools import islice
from random import Random

import pytest

from pandagpt.training.corpus import questions
from pandagpt.training.corpus.chatter import LOOKS, nonce
from pandagpt.training.corpus.dialogues import (
    Dialogue,
    corpus,
    in_world_order,
    random_seen,
    two_in_bag,
)
from pandagpt.training.corpus.facts import FACTS
from pandagpt.training.corpus.kinds import (
    BY_NAME,
    HELD_OUT_KINDS,
    KINDS,
    SFT_KINDS,
    Kind,
    Seen,
    ask,
)
from pandagpt.training.world.things import COLOURS, THINGS

CAR = Seen("car", "red", "small", "left")
DOG = Seen("dog", "blue", "large", "right")
SOUND = Seen("rain")


def test_every_thing_has_its_facts() -> None:
    assert set(FACTS) == set(THINGS)


def test_facts_that_are_asked_for_tell_things_apart() -> None:
    for field in ("verb", "noise", "made_of", "use", "home", "fact", "story", "move"):
        values = [getattr(facts, field) for facts in FACTS.values()]
        repeated = {value for value in values if values.count(value) > 1}
        assert len(repeated) <= 1, (field, repeated)


def test_the_same_seed_gives_the_same_corpus() -> None:
    assert list(islice(corpus(3), 50)) == list(islice(corpus(3), 50))
    assert list(islice(corpus(3), 50)) != list(islice(corpus(4), 50))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_an_answer_holds_its_key(kind: Kind) -> None:
    for seen in (CAR, DOG, SOUND):
        assert kind.key(seen) in kind.answer(seen)


def test_enough_question_types_and_paraphrases() -> None:
    assert len(KINDS) >= 20
    assert len(HELD_OUT_KINDS) >= 9
    assert len(SFT_KINDS) + len(HELD_OUT_KINDS) == len(KINDS)
    assert all(len(set(kind.asks)) == len(kind.asks) >= 4 for kind in KINDS)


def test_looks_are_told_when_known_and_not_invented() -> None:
    assert BY_NAME["colour"].answer(CAR) == "It is red."
    assert BY_NAME["where"].answer(DOG) == "It is on the right."
    assert BY_NAME["describe"].answer(CAR) == "A small red car on the left."
    assert BY_NAME["describe"].answer(SOUND) == "Rain."
    for kind in ("colour", "size", "where"):
        assert "cannot tell" in BY_NAME[kind].answer(SOUND)


def test_closed_questions_tell_the_truth() -> None:
    rng = Random(1)
    for _ in range(100):
        question, answer = questions.is_thing(rng, (CAR,))
        assert answer == f"{'Yes' if 'a car' in question else 'No'}, it is a car."
        question, answer = questions.is_colour(rng, CAR)
        assert answer.startswith("Yes" if "red" in question else "No")
        question, answer = questions.is_place(rng, CAR)
        assert answer.startswith("Yes" if "left" in question else "No")


def test_a_named_thing_gets_its_own_looks() -> None:
    rng = Random(2)
    for _ in range(60):
        question, answer = questions.about_one_of(rng, (CAR, DOG), ("colour",))
        assert answer == ("The car is red." if "car" in question else "The dog is blue.")


def test_pairs_are_named_in_order_and_twins_once() -> None:
    rng = Random(3)
    _, answer = questions.name_both(rng, (CAR, DOG))
    assert answer.endswith("a car and a dog.")
    assert questions.name_all((DOG, Seen("dog"))) == "a dog"
    assert questions.is_alike(rng, (DOG, Seen("dog")))[1].startswith("Yes")
    assert in_world_order((CAR, DOG)) == (DOG, CAR)


def test_a_bag_of_two_is_never_asked_whose_look_it_is() -> None:
    """Which colour belongs to which thing cannot be read from a sum."""
    rng = Random(4)
    looks = {ask for name in ("colour", "size", "where") for ask in BY_NAME[name].asks}
    for _ in range(200):
        drawn = two_in_bag(rng)
        if len({seen.thing for seen in drawn.slots[0].things}) == 2:
            assert not {question for question, _ in drawn.exchanges} & looks


def test_some_scenes_lack_looks() -> None:
    rng = Random(5)
    drawn = [random_seen(rng) for _ in range(300)]
    unknown = sum(seen.colour is None for seen in drawn) / len(drawn)
    assert 0.2 < unknown < 0.6


def test_questions_about_rain_need_no_article() -> None:
    rng = Random(6)
    for kind in KINDS:
        for _ in range(20):
            assert "a rain" not in ask(rng, kind, SOUND)


def test_nonce_names_are_no_words_of_the_world() -> None:
    rng = Random(7)
    assert not {nonce(rng).lower() for _ in range(200)} & set(LOOKS)


def test_bag_words_and_phrase_agree() -> None:
    for drawn in islice(corpus(8), 200):
        assert isinstance(drawn, Dialogue)
        for slot in drawn.slots:
            assert all(word in slot.phrase for word in slot.words)
    assert set(CAR.words) == {"car", "red", "small", "left"}
    assert SOUND.words == ("rain",)
    assert "red" in COLOURS
