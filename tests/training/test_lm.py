"""The tiny language model's training: what is learnt, what stands in slots, that it learns."""

from itertools import islice
from random import Random

import pytest
import torch

from pandagpt.model.config import LlamaConfig
from pandagpt.model.tokenizer import Tokenizer
from pandagpt.training.batch import collate, example
from pandagpt.training.corpus.bags import (
    batch_of,
    batches,
    turns_of,
    weigh,
    word_pieces,
    word_sums,
    worded,
)
from pandagpt.training.corpus.dialogues import Dialogue, Slot, corpus
from pandagpt.training.corpus.kinds import Seen
from pandagpt.training.gate import PROBES, cosines, exact
from pandagpt.training.lm import (
    LOOK_BACK,
    answer_logits,
    lm_loss,
    new_llama,
    tiny_llama,
    with_noise,
    word_vectors,
)
from pandagpt.training.world.things import WORDS

CAR = Seen("car", "red", "small", "left")
TALK = (("What is this?", "This is a car."), ("What colour is it?", "It is red."))


@pytest.fixture(scope="module")
def small() -> LlamaConfig:
    return LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        vocab_size=1280, num_key_value_heads=4, tie_word_embeddings=True,
    )  # fmt: skip


def test_every_word_of_the_world_is_one_piece(tiny_tokenizer: Tokenizer) -> None:
    assert all(len(tiny_tokenizer.encode(word)) == 1 for word in WORDS)


def test_any_text_comes_back(tiny_tokenizer: Tokenizer) -> None:
    for text in ("What?\n### x", "Ünïcode 😀 <s>", "12 things"):
        assert tiny_tokenizer.decode(tiny_tokenizer.encode(text)) == text


def test_only_answers_and_their_end_are_learnt(tiny_tokenizer: Tokenizer) -> None:
    dialogue = Dialogue(TALK, (Slot((CAR,), "bag"),))
    batch = collate([example(turns_of(dialogue), tiny_tokenizer, "interleave")])
    assert tiny_tokenizer.decode(batch.target_N.tolist()) == "This is a car.\n### It is red.\n###"


def test_a_batch_foretells_each_learnt_token_from_the_one_before(tiny_tokenizer: Tokenizer) -> None:
    short, long = (Dialogue(TALK[:n], (Slot((CAR,), "bag"),)) for n in (1, 2))
    batch = collate([example(turns_of(d), tiny_tokenizer, "interleave") for d in (short, long)])
    flat = batch.ids_BT.flatten()
    assert torch.equal(flat[batch.source_N + 1], batch.target_N)
    assert batch.owner_N.unique().tolist() == [0, 1]
    assert len(batch.slot_S) == 2
    assert flat[batch.slot_S].tolist() == [0, 0]


def test_a_phrase_takes_the_place_of_its_slot(tiny_tokenizer: Tokenizer) -> None:
    drawn = worded(Dialogue(TALK, (Slot((CAR,), "phrase"),)), tiny_tokenizer, Random(0))
    assert not drawn.bags
    assert not drawn.example.prompt.slots
    text = tiny_tokenizer.decode(drawn.example.prompt.token_ids)
    assert "<Img> a small red car on the left </Img>" in text


def test_a_bag_is_the_weighted_sum_of_its_words(tiny_tokenizer: Tokenizer) -> None:
    table = torch.randn(1280, 8)
    bags = [(("car", 1.0), ("red", 0.5)), (("dog", 2.0),)]
    vectors = word_sums(bags, word_pieces(tiny_tokenizer)).vectors(table)
    car, red, dog = (table[tiny_tokenizer.encode(word)[0]] for word in ("car", "red", "dog"))
    assert torch.allclose(vectors, torch.stack([car + 0.5 * red, 2 * dog]))


def test_a_bag_holds_its_things_above_all(tiny_tokenizer: Tokenizer) -> None:
    rng = Random(0)
    for _ in range(100):
        bag = weigh(Slot((CAR,), "bag"), rng)
        heaviest = sorted(bag, key=lambda each: -each[1])[:4]
        assert {word for word, _ in heaviest} == set(CAR.words)


def test_noise_is_bounded_by_its_share() -> None:
    vectors = torch.randn(50, 16)
    steps = (with_noise(vectors, 0.5) - vectors).norm(dim=-1) / vectors.norm(dim=-1)
    assert steps.max() <= 0.5
    assert steps.max() > 0.3
    assert torch.equal(with_noise(vectors, 0.0), vectors)


def test_padding_changes_nothing(tiny_tokenizer: Tokenizer, small: LlamaConfig) -> None:
    model = new_llama(small, 0).eval()
    pieces = word_pieces(tiny_tokenizer)
    drawn = [worded(d, tiny_tokenizer, Random(1)) for d in islice(corpus(1), 4)]
    together, sums = batch_of(drawn, pieces)
    table = word_vectors(model).weight
    logits = answer_logits(model, together, sums.vectors(table))
    for row, each in enumerate(drawn):
        alone, its_sums = batch_of([each], pieces)
        expected = answer_logits(model, alone, its_sums.vectors(table))
        assert torch.allclose(logits[together.owner_N == row], expected, atol=1e-5)


def test_the_slot_is_read_and_learnt_through(tiny_tokenizer: Tokenizer, small: LlamaConfig) -> None:
    model = new_llama(small, 0)
    drawn = worded(Dialogue(TALK, (Slot((CAR,), "bag"),)), tiny_tokenizer, Random(0))
    batch, sums = batch_of([drawn], word_pieces(tiny_tokenizer))
    loss = lm_loss(model, batch, sums, noise=0.1)
    loss.backward()
    gradient = word_vectors(model).weight.grad
    assert gradient is not None
    assert gradient[sums.ids_W.unique()].abs().sum() > 0
    assert torch.isfinite(loss)


def test_batches_hold_conversations_of_like_length(tiny_tokenizer: Tokenizer) -> None:
    drawn = list(islice(batches(corpus(2), tiny_tokenizer, 8, 0), 4))
    again = list(islice(batches(corpus(2), tiny_tokenizer, 8, 0), 4))
    for (batch, _), (same, _) in zip(drawn, again, strict=True):
        assert torch.equal(batch.ids_BT, same.ids_BT)
        assert (batch.ids_BT != 0).float().mean() > 0.8


def test_words_begin_far_from_each_other(tiny_tokenizer: Tokenizer, small: LlamaConfig) -> None:
    model = new_llama(small, 0)
    assert all(value < 0.6 for value in cosines(model, tiny_tokenizer).values())
    with torch.no_grad():
        word_vectors(model).weight[:] = 1.0
    assert all(value > 0.9 for value in cosines(model, tiny_tokenizer).values())


@pytest.mark.parametrize(("head", "steps_back"), list(enumerate(LOOK_BACK)))
def test_the_first_heads_begin_by_looking_back(head: int, steps_back: int) -> None:
    model = new_llama(tiny_llama(1280), 0)
    model.set_attn_implementation("eager")
    ids = torch.randint(3, 1280, (1, 40), generator=torch.Generator().manual_seed(0))
    attention_TT = model(ids, output_attentions=True).attentions[0][0, head]
    assert torch.diagonal(attention_TT, -steps_back).mean() > 0.9


def test_the_second_layer_begins_with_a_leaning_to_equal_words() -> None:
    """Twenty words, twice over: where did the word before stand, what followed this one?"""
    model = new_llama(tiny_llama(1280), 0)
    model.set_attn_implementation("eager")
    words = torch.randperm(1200, generator=torch.Generator().manual_seed(0))[:20] + 20
    ids = torch.cat([words, words])[None]
    attention_PTT = model(ids, output_attentions=True).attentions[1][0]
    now = torch.arange(21, 39)
    chance = (1 / (now + 1)).mean()
    assert attention_PTT[0, now, now - 1].mean() > 1.5 * chance
    assert attention_PTT[1, now, now - 19].mean() > 1.5 * chance
    others = [attention_PTT[head, now, now - 19].mean() for head in range(2, 6)]
    assert max(others) < 1.5 * chance


def test_a_few_steps_learn_a_few_dialogues_by_heart(
    tiny_tokenizer: Tokenizer, small: LlamaConfig
) -> None:
    """And the gate's measure sees it: wrong before, right after."""
    model = new_llama(small, 0)
    dialogues = [PROBES["one_thing"](Random(seed)) for seed in range(3)]
    batch, sums = batch_of([worded(d, tiny_tokenizer, Random(0)) for d in dialogues], {})
    assert exact(model, tiny_tokenizer, dialogues) == 0
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(40):
        loss = lm_loss(model, batch, sums, noise=0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert exact(model, tiny_tokenizer, dialogues) == 1
