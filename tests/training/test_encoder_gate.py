"""Gate G1's figures, on embeddings that are right or wrong by construction."""

import numpy as np
import pytest
import torch

from pandagpt.training.align_pictures import READER_GAIN, WordReader
from pandagpt.training.encoder_gate import (
    Measured,
    attributes,
    naming,
    naming_pairs,
    naming_sums,
)
from pandagpt.training.heldout import HeldOut
from pandagpt.training.renderings import COLUMNS, word_target
from pandagpt.training.world.things import THINGS, Placed, Scene

PROTOTYPES = torch.eye(len(THINGS))


def of(*things: str) -> HeldOut:
    places = ("left", "right")
    placed = [Placed(t, "red", "small", p) for t, p in zip(things, places, strict=False)]
    return HeldOut(b"", Scene(tuple(placed)))


def meant(*things: str) -> torch.Tensor:
    return torch.stack([PROTOTYPES[THINGS.index(thing)] for thing in things]).sum(0)


def test_naming_counts_the_nearest() -> None:
    files = [of("bell"), of("dog"), of("boat"), of("bee")]
    embedding = torch.stack([meant("bell"), meant("dog"), meant("boat"), meant("boat")])
    assert naming(Measured(files, embedding), PROTOTYPES) == 0.75


def test_both_things_of_a_pair_must_be_the_nearest_two() -> None:
    files = [of("bell", "dog"), of("cat", "car")]
    embedding = torch.stack([meant("dog", "bell"), meant("cat", "bee")])
    assert naming_pairs(Measured(files, embedding), PROTOTYPES) == 0.5


def test_sums_of_right_embeddings_name_both() -> None:
    files = [of(thing) for thing in THINGS]
    right = Measured(files, PROTOTYPES)
    wrong = Measured(files, PROTOTYPES.roll(1, 0))
    assert naming_sums(right, right, PROTOTYPES) == 1
    assert naming_sums(right, wrong, PROTOTYPES) < 0.5


def test_attributes_are_read_by_the_reader() -> None:
    words = torch.from_numpy(word_target(of("bell").scene))
    reader = WordReader(len(COLUMNS))
    with torch.no_grad():
        reader.linear.weight.copy_(torch.eye(len(COLUMNS)) / READER_GAIN)
        reader.linear.bias.zero_()
    blue = torch.from_numpy(np.roll(word_target(of("bell").scene), 1))
    files = [of("bell"), of("bell")]
    figures = attributes("image", Measured(files, torch.stack([words, blue])), reader, ("colour",))
    assert figures == {"image.colour": pytest.approx(0.5)}
