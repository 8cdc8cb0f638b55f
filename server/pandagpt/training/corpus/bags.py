"""Scenes given in words, where a medium will stand: as a phrase, or added up to one vector.

A dialogue in, an example and its bags of weighted words out. A bag has the shape in which a
projected medium arrives later, so the language model learns in text alone to read it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor

from pandagpt.model.prompt import MediaRef, MediaSlot, Prompt, Turn
from pandagpt.model.tokenizer import Tokenizer
from pandagpt.training.batch import Batch, Example, collate, example
from pandagpt.training.corpus.dialogues import Dialogue, Slot
from pandagpt.training.world.things import COLOURS, POSITIONS, SIZES, THINGS, WORDS

Bag = tuple[tuple[str, float], ...]
"""Words and how much each counts."""


@dataclass(frozen=True, slots=True)
class WordSums:
    """S weighted sums of W word pieces in all, as `embedding_bag` wants them."""

    ids_W: Tensor
    offsets_S: Tensor
    weights_W: Tensor

    def vectors(self, table_VH: Tensor) -> Tensor:
        device = table_VH.device
        return F.embedding_bag(
            self.ids_W.to(device), table_VH, self.offsets_S.to(device), mode="sum",
            per_sample_weights=self.weights_W.to(device),
        )  # fmt: skip


def word_sums(bags: Sequence[Bag], pieces: Mapping[str, list[int]]) -> WordSums:
    ids: list[int] = []
    offsets: list[int] = []
    weights: list[float] = []
    for bag in bags:
        offsets.append(len(ids))
        for word, weight in bag:
            ids += pieces[word]
            weights += [weight] * len(pieces[word])
    long = torch.long
    return WordSums(
        torch.tensor(ids, dtype=long), torch.tensor(offsets, dtype=long), torch.tensor(weights)
    )


def word_pieces(tokenizer: Tokenizer) -> dict[str, list[int]]:
    return {word: tokenizer.encode(word) for word in WORDS}


def turns_of(dialogue: Dialogue) -> list[Turn]:
    turns: list[Turn] = []
    for number, (question, answer) in enumerate(dialogue.exchanges):
        media = (MediaRef(i) for i, slot in enumerate(dialogue.slots) if slot.turn == number)
        turns.append(Turn("user", (*media, question)))
        turns.append(Turn("assistant", (answer,)))
    return turns


def with_phrases(drawn: Example, slots: Sequence[Slot], tokenizer: Tokenizer) -> Example:
    """Puts the tokens of each slot that is a phrase into its place; bags stay slots."""
    ids: list[int] = []
    learnt: list[bool] = []
    kept: list[tuple[int, MediaSlot]] = []
    vectors = dict(drawn.prompt.slots)
    for position, token_id in enumerate(drawn.prompt.token_ids):
        tokens = [token_id]
        if position in vectors:
            slot = slots[vectors[position].media[0]]
            if slot.form == "phrase":
                tokens = tokenizer.encode(slot.phrase)
            else:
                kept.append((len(ids), vectors[position]))
        ids += tokens
        learnt += [drawn.learnt[position]] * len(tokens)
    return Example(Prompt(tuple(ids), tuple(kept)), tuple(learnt))


def weigh(slot: Slot, rng: Random) -> Bag:
    """Uneven weights, as a projection would give; what is unknown is absent or evenly mixed."""
    words = [(word, rng.uniform(0.6, 1.4)) for word in slot.words]
    for group, attribute in ((COLOURS, "colour"), (SIZES, "size"), (POSITIONS, "position")):
        unknown = all(getattr(seen, attribute) is None for seen in slot.things)
        if unknown and rng.random() < 0.6:
            share = rng.uniform(0.3, 1.2) / len(group)
            words += [(word, share * rng.uniform(0.6, 1.4)) for word in group]
    if len(slot.things) == 1 and rng.random() < 0.3:
        words.append((rng.choice(THINGS), rng.uniform(0.0, 0.3)))
    gain = rng.uniform(0.7, 1.4)
    return tuple((word, weight * gain) for word, weight in words)


@dataclass(frozen=True, slots=True)
class Worded:
    """A conversation and what its vectors are added up from."""

    example: Example
    bags: tuple[Bag, ...]


def worded(dialogue: Dialogue, tokenizer: Tokenizer, rng: Random) -> Worded:
    drawn = example(turns_of(dialogue), tokenizer, "interleave")
    drawn = with_phrases(drawn, dialogue.slots, tokenizer)
    bags = tuple(weigh(dialogue.slots[slot.media[0]], rng) for _, slot in drawn.prompt.slots)
    return Worded(drawn, bags)


def batch_of(drawn: Sequence[Worded], pieces: Mapping[str, list[int]]) -> tuple[Batch, WordSums]:
    bags = [bag for each in drawn for bag in each.bags]
    return collate([each.example for each in drawn]), word_sums(bags, pieces)


def batches(
    dialogues: Iterator[Dialogue], tokenizer: Tokenizer, batch_size: int, seed: int
) -> Iterator[tuple[Batch, WordSums]]:
    """Endless batches of conversations of like length, so that hardly anything is padding."""
    rng = Random(seed)
    pieces = word_pieces(tokenizer)
    while True:
        pool = [worded(each, tokenizer, rng) for each in islice(dialogues, batch_size * 32)]
        pool.sort(key=lambda each: len(each.example))
        starts = list(range(0, len(pool), batch_size))
        rng.shuffle(starts)
        for start in starts:
            yield batch_of(pool[start : start + batch_size], pieces)
