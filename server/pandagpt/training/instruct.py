"""Stage D: the tiny model's instruction tuning, on pictures and text alone.

A gallery of image embeddings and a trained language model in, the adapter out. Encoders and
language model stay frozen. Only some question types are asked here; sound, video, depth, heat
and motion never occur, and answer by what the language model has learnt in text.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from random import Random

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from pandagpt.model.config import LoraConfig
from pandagpt.model.prompt import Fusion, MediaRef, Turn
from pandagpt.model.tokenizer import Tokenizer
from pandagpt.training.batch import Example, example
from pandagpt.training.corpus import questions
from pandagpt.training.corpus.bags import word_pieces, word_sums
from pandagpt.training.corpus.chatter import chatter
from pandagpt.training.corpus.dialogues import in_world_order, styled
from pandagpt.training.corpus.kinds import BY_NAME, Exchange, Seen, ask
from pandagpt.training.gallery import Gallery, Shown
from pandagpt.training.lm import word_vectors
from pandagpt.training.sft import (
    SftBatch,
    SftModel,
    reference_rate,
    sft_batch,
    sft_optimizer,
    sft_step,
)

REPORT_EVERY = 100


@dataclass(frozen=True, slots=True)
class SftPlan:
    steps: int = 400
    batch_size: int = 48
    peak_lr: float = 6e-4
    noise: float = 0.5
    lora: LoraConfig = field(default_factory=lambda: LoraConfig(r=16, alpha=16))
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Lesson:
    """A conversation about some media, and how they come in: added up, or each in its place."""

    turns: tuple[Turn, ...]
    media: tuple[Shown, ...]
    fusion: Fusion


def about_picture(rng: Random, seen: Seen) -> Exchange:
    draw = rng.random()
    if draw < 0.84:
        names = ("name", "see", "describe", "colour", "size", "where", "sound", "home", "alive")
        kind = BY_NAME[rng.choices(names, (20, 10, 12, 12, 9, 9, 5, 4, 3))[0]]
        return ask(rng, kind, seen), kind.answer(seen)
    if draw < 0.91:
        return questions.is_thing(rng, (seen,))
    if draw < 0.96:
        return questions.is_colour(rng, seen)
    return questions.count(rng, (seen,))


def about_pair(rng: Random, things: tuple[Seen, ...], bound: bool) -> Exchange:
    draw = rng.random()
    if draw < 0.6:
        return questions.name_both(rng, things)
    if draw < 0.7:
        return questions.count(rng, things)
    if draw < 0.8:
        return questions.is_thing(rng, things)
    kinds = ("colour", "size", "where", "sound", "home") if bound else ("sound", "home")
    return questions.about_one_of(rng, things, kinds)


def one_picture(rng: Random, gallery: Gallery) -> Lesson:
    shown = gallery.any_single(rng)
    return _lesson(rng, (shown,), lambda: about_picture(rng, shown.things[0]), "interleave")


def picture_of_two(rng: Random, gallery: Gallery) -> Lesson:
    shown = gallery.pair(rng)
    things = in_world_order(shown.things)
    return _lesson(rng, (shown,), lambda: about_pair(rng, things, bound=False), "interleave")


def two_pictures(rng: Random, gallery: Gallery, fusion: Fusion) -> Lesson:
    media = gallery.any_single(rng), gallery.any_single(rng)
    things = (media[0].things[0], media[1].things[0])
    if things[0].thing == things[1].thing:
        return one_picture(rng, gallery)
    if fusion == "sum":
        ordered = in_world_order(things)
        return _lesson(rng, media, lambda: about_pair(rng, ordered, bound=False), fusion)
    return _lesson(rng, media, lambda: about_pair(rng, things, bound=True), fusion)


def same_thing_twice(rng: Random, gallery: Gallery, fusion: Fusion) -> Lesson:
    """A picture with what a sound of the same thing would add."""
    shown = gallery.any_single(rng)
    twin = gallery.without_looks(rng, shown.things[0].thing)
    return _lesson(rng, (shown, twin), lambda: about_picture(rng, shown.things[0]), fusion)


def only_talk(rng: Random, gallery: Gallery) -> Lesson:
    return _lesson(rng, (), None, "interleave")


MIXTURE: tuple[tuple[Callable[[Random, Gallery], Lesson], float], ...] = (
    (one_picture, 0.36),
    (picture_of_two, 0.10),
    (lambda rng, gallery: two_pictures(rng, gallery, "sum"), 0.18),
    (lambda rng, gallery: two_pictures(rng, gallery, "interleave"), 0.24),
    (lambda rng, gallery: same_thing_twice(rng, gallery, "sum"), 0.03),
    (lambda rng, gallery: same_thing_twice(rng, gallery, "interleave"), 0.03),
    (only_talk, 0.06),
)


def _lesson(
    rng: Random, media: tuple[Shown, ...], draw: Callable[[], Exchange] | None, fusion: Fusion
) -> Lesson:
    count = rng.choice((1, 1, 1, 2))
    exchanges = [draw() for _ in range(count)] if draw else chatter(rng)
    refs = tuple(MediaRef(index) for index in range(len(media)))
    turns: list[Turn] = []
    for question, answer in exchanges:
        turns += (Turn("user", (*refs, styled(rng, question))), Turn("assistant", (answer,)))
        refs = ()
    return Lesson(tuple(turns), media, fusion)


def lessons(gallery: Gallery, seed: int) -> Iterator[Lesson]:
    rng = Random(seed)
    makers, weights = zip(*MIXTURE, strict=True)
    while True:
        yield rng.choices(makers, weights)[0](rng, gallery)


def batch_of(drawn: Sequence[Lesson], tokenizer: Tokenizer, embed_dim: int) -> SftBatch:
    """Conversations of like length are not sought here: the batch is short anyway."""
    none = torch.zeros(0, embed_dim)
    pairs: list[tuple[Example, Tensor]] = []
    for lesson in drawn:
        rows = [shown.embedding_E for shown in lesson.media]
        media_ME = torch.stack(rows) if rows else none
        pairs.append((example(lesson.turns, tokenizer, lesson.fusion), media_ME))
    return sft_batch(pairs)


@torch.no_grad()
def first_projection(
    gallery: Gallery, llama: LlamaForCausalLM, tokenizer: Tokenizer, ridge: float = 1e-3
) -> tuple[Tensor, Tensor]:
    """Weight and bias that best turn image embeddings into sums of their captions' words.

    A closed form over image-text pairs (ridge regression): SFT begins at a slot which the
    language model can already read.
    """
    bags = [
        tuple((word, 1.0) for placed in scene.things for word in placed.words)
        for scene in gallery.scenes
    ]
    table = word_vectors(llama).weight.detach()
    target_NH = word_sums(bags, word_pieces(tokenizer)).vectors(table).double()
    source_NE = gallery.embedding_NE.double().to(target_NH.device)
    source_mean, target_mean = source_NE.mean(0), target_NH.mean(0)
    centred = source_NE - source_mean
    gram = centred.T @ centred / len(centred)
    gram += ridge * gram.diagonal().mean() * torch.eye(len(gram), device=gram.device)
    weight_EH = torch.linalg.solve(gram, centred.T @ (target_NH - target_mean) / len(centred))
    return weight_EH.T.float(), (target_mean - source_mean @ weight_EH).float()


def instruct(
    llama: LlamaForCausalLM,
    gallery: Gallery,
    tokenizer: Tokenizer,
    plan: SftPlan,
    report: Callable[[int, float], None],
) -> SftModel:
    torch.manual_seed(plan.seed)
    device = llama.device
    weight, bias = first_projection(gallery, llama, tokenizer)
    model = SftModel(llama, gallery.embedding_NE.shape[-1], plan.lora).to(device)
    with torch.no_grad():
        model.llama_proj.weight.copy_(weight)
        model.llama_proj.bias.copy_(bias)
    optimizer = sft_optimizer(model, plan.peak_lr)
    stream = lessons(gallery, plan.seed)
    embed_dim = gallery.embedding_NE.shape[-1]
    for step in range(plan.steps):
        batch = batch_of(list(islice(stream, plan.batch_size)), tokenizer, embed_dim).to(device)
        rate = reference_rate(step, plan.steps, plan.peak_lr)
        loss = sft_step(model, batch, optimizer, rate)
        if (step + 1) % REPORT_EVERY == 0 or step + 1 == plan.steps:
            report(step + 1, loss)
    return model
