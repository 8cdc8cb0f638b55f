"""Several models on one decoder's weights: each is what a decoder of its own would be."""

import pytest
import torch
from torch import Tensor

from pandagpt.model.config import PROJECTIONS, LlamaConfig
from pandagpt.model.cpu.compiler import library
from pandagpt.model.cpu.decoder import CpuLlama, CpuWeights
from pandagpt.model.decoder import Decoder
from pandagpt.model.kv_cache import Span
from pandagpt.model.llama import Llama, llama_shapes
from pandagpt.model.lora import Difference, LowRank, added
from pandagpt.model.patch import NOBODY, Patched

# No size is a multiple of what the compiled code works in.
CONFIG = LlamaConfig(
    hidden_size=84,
    intermediate_size=149,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=3,
    vocab_size=131,
    max_position_embeddings=64,
)
KINDS: list[CpuWeights | None] = [None, "float32", "float16", "int16", "int8"]
BOUNDS = {None: 1e-5, "float32": 1e-5, "float16": 2e-3, "int16": 2e-3, "int8": 0.12}


def state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        key: torch.randn(shape, generator=generator) * (0.15 if len(shape) > 1 else 1)
        for key, shape in llama_shapes(CONFIG).items()
    }


def difference(names: tuple[str, ...], rank: int, seed: int) -> Difference:
    generator = torch.Generator().manual_seed(seed)
    keys = [
        key for key in llama_shapes(CONFIG) if key.endswith(tuple(f"{n}.weight" for n in names))
    ]
    shapes = {key: llama_shapes(CONFIG)[key] for key in keys}
    return {
        key: LowRank(
            torch.randn(rank, num_in, generator=generator) * 0.1,
            torch.randn(num_out, rank, generator=generator) * 0.3,
        )
        for key, (num_out, num_in) in shapes.items()
    }


ALL_PLACES = difference(PROJECTIONS, 5, 1)
ATTENTION = difference(("q_proj", "o_proj"), 3, 2)


def decoder(kind: CpuWeights | None, weights: dict[str, Tensor]) -> Decoder:
    if kind is None:
        llama = Llama(CONFIG)
        llama.load(weights)
        return llama
    if library() is None:
        pytest.skip("needs a C++ compiler")
    return CpuLlama(CONFIG, weights, kind)


def changed(by: Difference) -> dict[str, Tensor]:
    """The weights of a model, all its own."""
    return state() | {key: state()[key] + low.b @ low.a for key, low in by.items()}


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> CpuWeights | None:
    return request.param


@pytest.fixture
def llama(kind: CpuWeights | None) -> Decoder:
    llama = decoder(kind, state())
    assert [llama.add_difference(each) for each in (ALL_PLACES, ATTENTION)] == [0, 1]
    return llama


def text(seed: int, length: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(CONFIG.vocab_size, (length,), generator=generator)


def batch(llama: Decoder, texts: list[Tensor], patched: Patched = NOBODY) -> list[Tensor]:
    """Logits of each text."""
    cache = llama.new_cache(len(texts), 32)
    spans = [Span(row, 0, len(tokens)) for row, tokens in enumerate(texts)]
    positions = torch.cat([torch.arange(len(tokens)) for tokens in texts])
    embeds = llama.embed(torch.cat(texts))
    hidden = llama(embeds, positions, cache, 0, spans, patched)
    return list(llama.logits(hidden).split([len(tokens) for tokens in texts]))


@pytest.mark.parametrize("number", [0, 1])
def test_a_patched_text_is_that_of_a_model_of_its_own(
    llama: Decoder, kind: CpuWeights | None, number: int
) -> None:
    tokens = text(3, 20)
    own = decoder(kind, changed((ALL_PLACES, ATTENTION)[number]))
    (expected,) = batch(own, [tokens])
    (got,) = batch(llama, [tokens], {number: range(20)})
    (merged,) = batch(llama, [tokens])
    assert (got - expected).norm() / expected.norm() < BOUNDS[kind]
    assert (merged - expected).norm() / expected.norm() > 0.3


def test_a_mixed_batch_gives_each_text_what_it_gets_alone(
    llama: Decoder, kind: CpuWeights | None
) -> None:
    texts = [text(seed, length) for seed, length in enumerate((4, 9, 1, 12, 7))]
    # Of three models, in no order: the first and the last text are of the merged one.
    mixed = batch(llama, texts, {1: [*range(4, 13), *range(14, 26)], 0: [13]})
    users: list[Patched] = [NOBODY, {1: range(9)}, {0: range(1)}, {1: range(12)}, NOBODY]
    for tokens, used, got in zip(texts, users, mixed, strict=True):
        (alone,) = batch(llama, [tokens], used)
        if kind is None:
            torch.testing.assert_close(got, alone, atol=1e-4, rtol=1e-4)
        else:
            assert torch.equal(got, alone)


def test_the_merged_model_keeps_its_bits(llama: Decoder) -> None:
    texts = [text(seed, 6) for seed in range(4)]
    plain = batch(llama, texts)
    mixed = batch(llama, texts, {0: range(6), 1: range(18, 24)})
    assert torch.equal(mixed[1], plain[1])
    assert torch.equal(mixed[2], plain[2])
    assert not torch.equal(mixed[0], plain[0])


def test_all_models_have_their_weights_in_one_place() -> None:
    """What happens to a weight happens to all."""
    llama = Llama(CONFIG)
    llama.load(state())
    number, tokens = llama.add_difference(ALL_PLACES), text(4, 5)
    llama.weights()["lm_head.weight"].zero_()
    for used in (NOBODY, {number: range(5)}):
        assert not batch(llama, [tokens], used)[0].any()


def test_differences_add_up() -> None:
    both = added(ALL_PLACES, ATTENTION)
    assert both.keys() == ALL_PLACES.keys()
    for key, low in both.items():
        expected = ALL_PLACES[key].b @ ALL_PLACES[key].a
        if key in ATTENTION:
            expected = expected + ATTENTION[key].b @ ATTENTION[key].a
        torch.testing.assert_close(low.b @ low.a, expected)
