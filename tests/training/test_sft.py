"""Instruction tuning: what learns, what a slot is, and that lessons are of pictures alone."""

import math
from dataclasses import replace
from itertools import islice
from random import Random

import pytest
import torch
from torch import Tensor

from pandagpt.model.config import LlamaConfig, LoraConfig
from pandagpt.model.prompt import MediaRef, Turn
from pandagpt.model.tokenizer import Tokenizer
from pandagpt.training.batch import example
from pandagpt.training.corpus.kinds import BY_NAME, HELD_OUT_KINDS, Seen
from pandagpt.training.gallery import LENGTHS, Gallery
from pandagpt.training.instruct import (
    SftPlan,
    about_picture,
    batch_of,
    first_projection,
    instruct,
    lessons,
)
from pandagpt.training.lm import new_llama, word_vectors
from pandagpt.training.schedule import learning_rate
from pandagpt.training.sft import (
    SftModel,
    reference_rate,
    sft_batch,
    sft_logits,
    sft_loss,
    sft_optimizer,
    sft_step,
)
from pandagpt.training.world.things import WORDS, Scene, random_pair, random_single

EMBED_DIM = len(WORDS)
SMALL = LlamaConfig(
    hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    vocab_size=1280, num_key_value_heads=4, tie_word_embeddings=True,
)  # fmt: skip
LORA = LoraConfig(r=4, alpha=8)


@pytest.fixture
def model() -> SftModel:
    return SftModel(new_llama(SMALL, 0), EMBED_DIM, LORA)


def embedding_of(scene: Scene) -> Tensor:
    """A perfect encoder: one direction a word."""
    words = {word for placed in scene.things for word in placed.words}
    vector = torch.tensor([float(word in words) for word in WORDS])
    return vector / vector.norm()


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    rng = Random(0)
    scenes = [random_pair(rng) if i % 4 == 0 else random_single(rng) for i in range(1200)]
    return Gallery(scenes, torch.stack([embedding_of(scene) for scene in scenes]), noise=0.2)


def conversation(question: str, *media: int) -> list[Turn]:
    return [
        Turn("user", (*(MediaRef(index) for index in media), question)),
        Turn("assistant", ("This is a car.",)),
    ]


def test_only_projection_and_lora_learn_under_the_references_names(model: SftModel) -> None:
    names = set(model.adapter())
    layer = "llama_model.base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight"
    assert {"llama_proj.weight", "llama_proj.bias", layer} <= names
    assert len(names) == 2 + 2 * 4 * 2
    assert all("lora" in name or name.startswith("llama_proj") for name in names)


def test_a_slot_is_the_sum_of_its_projections(model: SftModel, tiny_tokenizer: Tokenizer) -> None:
    """The bias counts once for each medium, as in the reference."""
    media = torch.randn(2, EMBED_DIM)
    both = example(conversation("What?", 0, 1), tiny_tokenizer, "sum")
    one = example(conversation("What?", 0), tiny_tokenizer, "sum")
    logits = sft_logits(model, sft_batch([(both, media)]))
    model.llama_proj.bias.data *= 2
    expected = sft_logits(model, sft_batch([(one, media.sum(0, keepdim=True))]))
    assert torch.allclose(logits, expected, atol=1e-5)


def test_interleaved_media_have_own_slots(model: SftModel, tiny_tokenizer: Tokenizer) -> None:
    media = torch.randn(2, EMBED_DIM)
    drawn = example(conversation("What?", 0, 1), tiny_tokenizer, "interleave")
    batch = sft_batch([(drawn, media)])
    assert batch.slot_of_M.tolist() == [0, 1]
    swapped = sft_batch([(drawn, media.flip(0))])
    assert not torch.allclose(sft_logits(model, batch), sft_logits(model, swapped))


def test_talk_without_media_is_a_batch_too(model: SftModel, tiny_tokenizer: Tokenizer) -> None:
    batch = sft_batch([(example(conversation("Hello"), tiny_tokenizer, "sum"), torch.zeros(0, 5))])
    assert batch.media_ME.shape == (0, 5)
    assert batch.tokens.slot_S.numel() == 0


def test_a_step_lowers_the_loss_and_moves_the_adapter_alone(
    model: SftModel, tiny_tokenizer: Tokenizer
) -> None:
    drawn = example(conversation("What is this?", 0), tiny_tokenizer, "sum")
    batch = sft_batch([(drawn, torch.randn(1, EMBED_DIM))])
    before = {name: each.clone() for name, each in model.state_dict().items()}
    optimizer = sft_optimizer(model, 1e-2)
    losses = [sft_step(model, batch, optimizer, 1e-2) for _ in range(5)]
    assert sft_loss(model, batch).item() < losses[0]
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == set(model.adapter())


def test_a_step_takes_the_rate_it_is_given(model: SftModel, tiny_tokenizer: Tokenizer) -> None:
    batch = sft_batch(
        [(example(conversation("What?", 0), tiny_tokenizer, "sum"), torch.randn(1, EMBED_DIM))]
    )
    before = model.llama_proj.bias.clone()
    sft_step(model, batch, sft_optimizer(model, 1e-2), rate=0.0)
    assert torch.equal(before, model.llama_proj.bias)


def test_warm_up_is_a_tenth_of_the_steps_but_ten_at_least() -> None:
    assert reference_rate(10, 50, 1.0) == pytest.approx(1.0)
    assert reference_rate(5, 400, 1.0) == pytest.approx(math.log(5) / math.log(40))
    assert learning_rate(0, 50, 10, 1.0) == 1.0
    assert reference_rate(50, 50, 1.0) < 0.03


def test_means_of_pictures_lose_what_differs(gallery: Gallery) -> None:
    rng = Random(1)
    gallery.noise = 0.0
    shown = gallery.without_looks(rng, "car")
    assert shown.things == (Seen("car"),)
    strongest = WORDS[int(shown.embedding_E.argmax())]
    assert strongest == "car"
    seen = gallery.without_colour(rng).things[0]
    assert seen.colour is None
    assert seen.size
    assert seen.position


def test_noise_and_length_stay_in_their_bounds(gallery: Gallery) -> None:
    rng = Random(2)
    gallery.noise = 0.5
    lengths = torch.stack([gallery.single(rng).embedding_E.norm() for _ in range(100)])
    assert lengths.min() >= LENGTHS[0] - 1e-4
    assert lengths.max() <= LENGTHS[1] + 1e-4


def test_held_out_question_types_never_occur(gallery: Gallery) -> None:
    held_out = {a.lower().rstrip("?.!") for name in HELD_OUT_KINDS for a in BY_NAME[name].asks}
    held_out = {text for text in held_out if "{" not in text}
    rng = Random(3)
    asked = {
        about_picture(rng, Seen("dog", "red", "small", "left"))[0].lower().rstrip("?.!")
        for _ in range(500)
    }
    assert len(asked) > 60
    assert not asked & held_out


def test_lessons_say_what_their_embeddings_show(gallery: Gallery) -> None:
    fusions = set()
    for lesson in islice(lessons(gallery, 4), 300):
        answer = next(part for part in lesson.turns[1].parts if isinstance(part, str))
        fusions.add((lesson.fusion, len(lesson.media)))
        if lesson.media and answer.startswith("This is"):
            names = {seen.thing for shown in lesson.media for seen in shown.things}
            assert all(name in answer for name in names)
    assert {("sum", 2), ("interleave", 2), ("interleave", 1), ("interleave", 0)} <= fusions


def test_the_first_projection_reads_the_words(gallery: Gallery, tiny_tokenizer: Tokenizer) -> None:
    llama = new_llama(replace(SMALL, hidden_size=128), 0)
    weight, bias = first_projection(gallery, llama, tiny_tokenizer)
    row = gallery.singles[0]
    slot = weight @ gallery.embedding_NE[row] + bias
    ids = torch.tensor([tiny_tokenizer.encode(word)[0] for word in WORDS])
    scores = word_vectors(llama).weight[ids] @ slot
    found = {WORDS[i] for i in scores.topk(4).indices.tolist()}
    assert found == set(gallery.scenes[row].things[0].words)


def test_instruction_runs_on_a_gallery(gallery: Gallery, tiny_tokenizer: Tokenizer) -> None:
    seen: list[float] = []
    plan = SftPlan(steps=12, batch_size=4, lora=LORA)
    llama = new_llama(SMALL, 0).requires_grad_(False)
    model = instruct(llama, gallery, tiny_tokenizer, plan, lambda step, loss: seen.append(loss))
    assert len(seen) == 1
    assert math.isfinite(seen[0])
    batch = batch_of(list(islice(lessons(gallery, 5), 4)), tiny_tokenizer, EMBED_DIM)
    assert torch.isfinite(sft_loss(model, batch))
