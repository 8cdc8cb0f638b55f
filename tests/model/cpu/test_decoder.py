"""The compiled decoder: what it promises beyond `test_llama`, bit for bit where it says so."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pandagpt.model.config import LlamaConfig
from pandagpt.model.cpu.compiler import library
from pandagpt.model.cpu.decoder import CpuLlama, CpuWeights
from pandagpt.model.kv_cache import Span
from pandagpt.model.llama import Llama

pytestmark = pytest.mark.skipif(library() is None, reason="needs a C++ compiler")

# No size is a multiple of what the compiled code works in.
CONFIG = LlamaConfig(
    hidden_size=84,
    intermediate_size=149,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=3,
    vocab_size=131,
    max_position_embeddings=128,
)
# Heads of several vectors and a rest, wider than the processor's: 88 is 5.5 times 16.
WIDE = replace(
    CONFIG, hidden_size=352, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=1
)
ALL: list[CpuWeights] = ["float32", "float16", "int16", "int8"]


def state(config: LlamaConfig = CONFIG) -> dict[str, Tensor]:
    """Of float16 values, so that packing as float16 loses nothing."""
    generator = torch.Generator().manual_seed(0)
    shapes = {key: weight.shape for key, weight in Llama(config, device="meta").weights().items()}
    return {
        key: (torch.randn(shape, generator=generator) * (0.15 if len(shape) > 1 else 1)).half()
        for key, shape in shapes.items()
    }


def ids(count: int, seed: int) -> Tensor:
    return torch.randint(CONFIG.vocab_size, (count,), generator=torch.Generator().manual_seed(seed))


def logits(llama: CpuLlama | Llama, batch: list[tuple[Tensor, Span]], num_rows: int = 1) -> Tensor:
    cache = llama.new_cache(num_rows, 64)
    positions = torch.cat([torch.arange(span.start, span.end) for _, span in batch])
    tokens = torch.cat([tokens for tokens, _ in batch])
    return llama.logits(llama(llama.embed(tokens), positions, cache, 0, [s for _, s in batch]))


def whole(llama: CpuLlama | Llama, tokens: Tensor) -> Tensor:
    return logits(llama, [(tokens, Span(0, 0, len(tokens)))])


def oracle(config: LlamaConfig) -> Llama:
    llama = Llama(config)
    llama.load({key: weight.float() for key, weight in state(config).items()})
    return llama


@pytest.mark.parametrize("weights", ALL)
def test_a_batch_gives_the_bits_that_each_gets_alone(weights: CpuWeights) -> None:
    """Of all numbers of rows that tiles are made of, and beyond."""
    llama = CpuLlama(CONFIG, state(), weights)
    for count in (1, 2, 3, 5, 8, 9, 17):
        texts = [ids(2 + row % 5, row) for row in range(count)]
        batch = [(text, Span(row, 0, len(text))) for row, text in enumerate(texts)]
        alone = torch.cat([whole(llama, text) for text in texts])
        assert torch.equal(logits(llama, batch, count), alone), count


@pytest.mark.parametrize("weights", ALL)
def test_many_tokens_give_the_bits_that_each_row_gets_alone(weights: CpuWeights) -> None:
    """More than a layer takes at once, so that a border lies inside a row."""
    llama = CpuLlama(CONFIG, state(), weights)
    texts = [ids(53, row) for row in range(10)]
    batch = [(text, Span(row, 0, len(text))) for row, text in enumerate(texts)]
    alone = torch.cat([whole(llama, text) for text in texts])
    assert torch.equal(logits(llama, batch, len(texts)), alone)


@pytest.mark.parametrize("config", [CONFIG, WIDE], ids=["narrow", "wide"])
@pytest.mark.parametrize("weights", ALL)
def test_chunks_give_the_bits_of_the_whole(weights: CpuWeights, config: LlamaConfig) -> None:
    """Neighbouring tokens share what they read of keys and values; a token alone does not."""
    llama, text = CpuLlama(config, state(config), weights), ids(40, 1)
    for cuts in ([1, 39], [13, 1, 26], [1] * 40):
        cache, parts, start = llama.new_cache(1, 64), [], 0
        for part in text.split(cuts):
            span = Span(0, start, len(part))
            positions = torch.arange(span.start, span.end)
            parts.append(llama.logits(llama(llama.embed(part), positions, cache, 0, [span])))
            start = span.end
        assert torch.equal(torch.cat(parts), whole(llama, text)), cuts


def test_threads_change_no_bit() -> None:
    llama = CpuLlama(CONFIG, state(), "float16")
    texts = [ids(30, 2), ids(60, 3), ids(60, 4)]
    few, many = [(texts[0], Span(0, 0, 30))], [(t, Span(i, 0, len(t))) for i, t in enumerate(texts)]
    expected = [logits(llama, batch, 3) for batch in (few, many)]
    torch.set_num_threads(2)
    try:
        for batch, one in zip((few, many), expected, strict=True):
            assert torch.equal(logits(llama, batch, 3), one)
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("weights", "bound"), [("float32", 2e-6), ("float16", 2e-6), ("int16", 1e-3), ("int8", 0.1)]
)
@pytest.mark.parametrize("config", [CONFIG, WIDE], ids=["narrow", "wide"])
def test_every_kind_of_weights_stays_near_torch(
    config: LlamaConfig, weights: CpuWeights, bound: float
) -> None:
    """float16 rounds nothing here: the weights are of float16 values already."""
    text = ids(50, 3)
    expected = whole(oracle(config), text)
    difference = (whole(CpuLlama(config, state(config), weights), text) - expected).norm()
    assert difference / expected.norm() < bound


@pytest.mark.parametrize("weights", ["int16", "int8"])
def test_rows_of_zeros_stay_zeros(weights: CpuWeights) -> None:
    changed = state()
    changed["lm_head.weight"][7] = 0
    assert not whole(CpuLlama(CONFIG, changed, weights), ids(5, 4))[:, 7].any()


def test_extreme_activations_stay_finite() -> None:
    """exp's ends: a gate far below zero closes, one far above lets through."""
    llama = CpuLlama(
        CONFIG, {k: w * (30 if "gate" in k else 1) for k, w in state().items()}, "float32"
    )
    assert whole(llama, ids(20, 5)).isfinite().all()


def test_the_embeddings_given_are_left_as_they_were() -> None:
    llama = CpuLlama(CONFIG, state(), "float16")
    embeds = llama.embed(ids(4, 6))
    before = embeds.clone()
    llama(embeds, torch.arange(4), llama.new_cache(1, 8), 0, [Span(0, 0, 4)])
    assert torch.equal(embeds, before)
