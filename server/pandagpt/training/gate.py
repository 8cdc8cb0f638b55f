"""Gate G2: what the tiny language model answers in text alone, before it sees any medium.

A model in, the share of exact answers by question type out. Scenes are drawn from their own
seeds. Teacher forcing with every token the likeliest one is what greedy decoding would write.
"""

from collections.abc import Callable, Sequence
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlamaForCausalLM

from pandagpt.model.tokenizer import Tokenizer
from pandagpt.training.corpus import questions
from pandagpt.training.corpus.bags import batch_of, word_pieces, worded
from pandagpt.training.corpus.chatter import chatter
from pandagpt.training.corpus.dialogues import Dialogue, Form, Slot, in_world_order
from pandagpt.training.corpus.kinds import BY_NAME, HELD_OUT_KINDS, Exchange, Seen, ask
from pandagpt.training.lm import answer_logits, word_vectors
from pandagpt.training.world.things import (
    COLOURS,
    POSITIONS,
    SIZES,
    THINGS,
    random_pair,
    random_single,
)

Probe = Callable[[Random], Dialogue]
LOOKS = ("colour", "size", "where")


def told(things: Sequence[Seen], exchange: Exchange) -> Dialogue:
    """The scene in the question's own words."""
    scene = " and ".join(seen.phrase for seen in things)
    return Dialogue(((f"There is {scene}. {exchange[0]}", exchange[1]),))


def one(kinds: tuple[str, ...], form: Form | None) -> Probe:
    def probe(rng: Random) -> Dialogue:
        seen = Seen.all_of(random_single(rng).things[0])
        kind = BY_NAME[rng.choice(kinds)]
        exchange = ask(rng, kind, seen), kind.answer(seen)
        return Dialogue((exchange,), (Slot((seen,), form),)) if form else told([seen], exchange)

    return probe


def two(looks: tuple[str, ...], form: Form | None) -> Probe:
    """Both names, or with `looks` an attribute of the one that the question names."""

    def probe(rng: Random) -> Dialogue:
        things = tuple(map(Seen.all_of, random_pair(rng).things))
        if form == "bag":
            things = in_world_order(things)
        exchange = (
            questions.about_one_of(rng, things, looks)
            if looks
            else questions.name_both(rng, things)
        )
        return Dialogue((exchange,), (Slot(things, form),)) if form else told(things, exchange)

    return probe


def interleaved(rng: Random) -> Dialogue:
    first, second = (Seen(thing) for thing in rng.sample(THINGS, 2))
    slots = (Slot((first,), "bag"), Slot((second,), "bag"))
    return Dialogue((questions.name_both(rng, (first, second)),), slots)


def lookless(rng: Random) -> Dialogue:
    seen = Seen(rng.choice(THINGS))
    kind = BY_NAME[rng.choice(LOOKS)]
    return Dialogue(((ask(rng, kind, seen), kind.answer(seen)),), (Slot((seen,), "bag"),))


PROBES: dict[str, Probe] = {
    "one_thing": one(("name", "see"), None),
    "one_colour": one(("colour",), None),
    "one_size": one(("size",), None),
    "one_position": one(("where",), None),
    "two_things": two((), None),
    "two_colour": two(("colour",), None),
    "two_size": two(("size",), None),
    "two_position": two(("where",), None),
    "phrase_looks": one(LOOKS, "phrase"),
    "bag_thing": one(("name", "see"), "bag"),
    "bag_looks": one(LOOKS, "bag"),
    "bag_facts": one(tuple(k for k in HELD_OUT_KINDS if k != "both"), "bag"),
    "bag_unknown": lookless,
    "bag_two_things": two((), "bag"),
    "two_slots": interleaved,
    "chat": lambda rng: Dialogue(tuple(chatter(rng))),
}
NUM_PROBES = 120


@torch.no_grad()
def exact(model: LlamaForCausalLM, tokenizer: Tokenizer, dialogues: Sequence[Dialogue]) -> float:
    """Share of dialogues whose every answer greedy decoding would give word for word."""
    rng = Random(0)
    drawn = [worded(each, tokenizer, rng) for each in dialogues]
    batch, sums = batch_of(drawn, word_pieces(tokenizer))
    batch = batch.to(model.device)
    logits = answer_logits(model, batch, sums.vectors(word_vectors(model).weight))
    wrong = logits.argmax(-1) != batch.target_N
    return 1 - batch.owner_N[wrong].unique().numel() / len(drawn)


def gate(model: LlamaForCausalLM, tokenizer: Tokenizer) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, probe in PROBES.items():
        rng = Random(f"gate {name}")
        dialogues = [probe(rng) for _ in range(NUM_PROBES)]
        figures[name] = round(exact(model, tokenizer, dialogues), 3)
    return figures


def cosines(model: LlamaForCausalLM, tokenizer: Tokenizer) -> dict[str, float]:
    """Mean cosine within each group of interchangeable words; above 0.9 they have collapsed.

    Of the word vectors that are read and of those that are written, the greater one.
    """
    tables = word_vectors(model).weight, model.get_output_embeddings().get_parameter("weight")
    groups = {"things": THINGS, "colours": COLOURS, "sizes": SIZES, "positions": POSITIONS}
    found: dict[str, float] = {}
    for name, words in groups.items():
        ids = [tokenizer.encode(word)[0] for word in words]
        found[name] = round(max(_mean_cosine(table[ids]) for table in tables), 3)
    return found


@torch.no_grad()
def _mean_cosine(vectors_WH: Tensor) -> float:
    unit = F.normalize(vectors_WH, dim=-1)
    count = len(unit)
    return ((unit @ unit.T).sum().item() - count) / (count * (count - 1))
