"""The exam: true keys, real files, seeds of its own; and where its results are written."""

from itertools import islice
from pathlib import Path

import pytest

from pandagpt.errors import CheckpointError
from pandagpt.media.modality import Modality
from pandagpt.model.folder import resolve_folder
from pandagpt.model.prompt import MediaRef, Turn
from pandagpt.training.evaluation import BEGIN, END, Score, evaluate, tables, write_results
from pandagpt.training.exam import Item, items, known_of, samples
from pandagpt.training.tiny import GALLERY_SEED, MODEL_CARD
from pandagpt.training.world.things import Placed

DOG = Placed("dog", "blue", "large", "left")


def item(*keys: str, wrong: tuple[str, ...] = ()) -> Item:
    turns = (Turn("user", (MediaRef(0), "What is this?")),)
    return Item("naming", "image", turns, (), "interleave", keys, wrong)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("This is a dog.", True),
        ("This is a dog and a cat.", False),
        ("This is a cat.", False),
        ("", False),
    ],
)
def test_a_name_is_right_if_no_other_is_given(answer: str, right: bool) -> None:
    assert item("dog", wrong=("cat", "horse")).is_right(answer) is right


def test_both_names_are_needed_in_any_order() -> None:
    both = item("dog", "rain", wrong=("cat",))
    assert both.is_right("I can see rain and a dog.")
    assert not both.is_right("I can see rain.")


def test_what_a_sense_cannot_tell_is_not_asked_of_it() -> None:
    assert known_of(Modality.AUDIO, DOG).words == ("dog",)
    assert known_of(Modality.DEPTH, DOG).words == ("large", "dog", "left")
    assert known_of(Modality.VIDEO, DOG).words == ("large", "blue", "dog", "left")


@pytest.mark.parametrize("modality", [Modality.IMAGE, Modality.IMU])
def test_the_same_exam_is_drawn_again(modality: Modality) -> None:
    first, again = (next(samples(modality, 1)) for _ in range(2))
    assert first.medium.digest == again.medium.digest
    assert first.things == again.things


def test_the_exam_begins_with_naming_real_pictures() -> None:
    drawn = list(islice(items(2), 8))
    assert drawn[0].group == "naming"
    assert drawn[0].media[0].array.shape == (3, 224, 224)
    colour = next(each for each in drawn if each.group == "looks: colour")
    assert colour.keys[0] not in colour.wrong
    assert any(each.group.startswith("held out") for each in drawn)


def test_the_bundled_model_sits_its_exam_through_the_engine() -> None:
    wrong: list[str] = []
    scores = evaluate(resolve_folder("tiny"), 2, wrong.append)
    asked = [score.asked for row in scores.values() for score in row.values()]
    assert sum(asked) > 100
    assert len(wrong) == sum(s.asked - s.right for row in scores.values() for s in row.values())
    assert scores["naming"]["image"].share == 1
    assert scores["naming"]["audio"].share == 1
    assert next(iter(scores)) == "naming"


def test_tables_have_a_row_a_group_and_a_column_a_medium() -> None:
    scores = {
        "naming": {"image": Score(9, 10), "audio": Score(1, 4)},
        "looks: colour": {"image": Score(3, 3)},
        "plain text": {"one_thing": Score(1, 2)},
    }
    text = tables(scores)
    assert "| naming | 0.900 (10) | 0.250 (4) |" in text
    assert "| looks: colour | 1.000 (3) |  |" in text
    assert "| one_thing | 0.500 (2) |" in text


def test_results_replace_what_stood_between_the_markers(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text(f"head\n{BEGIN}\nold\n{END}\ntail\n")
    write_results(card, "new")
    write_results(card, "newer")
    assert card.read_text() == f"head\n{BEGIN}\nnewer\n{END}\ntail\n"


def test_a_card_without_markers_is_refused_and_kept(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text("no markers")
    with pytest.raises(CheckpointError):
        write_results(card, "new")
    assert card.read_text() == "no markers"


def test_the_models_own_card_has_room_for_results() -> None:
    text = MODEL_CARD.read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1


def test_training_and_exam_draw_from_different_seeds() -> None:
    from_exam = {str(each.medium.digest) for each in samples(Modality.IMAGE, 3)}
    assert len(from_exam) == 3
    assert GALLERY_SEED < 1000
