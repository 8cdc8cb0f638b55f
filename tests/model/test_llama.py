"""Our decoder against transformers' on random weights, and against itself in every batching."""

from collections.abc import Iterator
from dataclasses import asdict, replace

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig as OracleConfig
from transformers import LlamaForCausalLM

from pandagpt.errors import CheckpointError
from pandagpt.model.config import LlamaConfig
from pandagpt.model.cpu.compiler import library
from pandagpt.model.cpu.decoder import CpuLlama
from pandagpt.model.decoder import Decoder
from pandagpt.model.kv_cache import KVCache, Span
from pandagpt.model.llama import Llama

PLAIN = LlamaConfig(
    hidden_size=48,
    intermediate_size=96,
    num_hidden_layers=3,
    num_attention_heads=6,
    num_key_value_heads=6,
    vocab_size=101,
    max_position_embeddings=64,
)
VARIANTS = {
    "plain": PLAIN,
    "grouped": replace(PLAIN, num_key_value_heads=2),
    "one key head": replace(PLAIN, num_key_value_heads=1),
    "tied": replace(PLAIN, tie_word_embeddings=True),
    "other constants": replace(PLAIN, rope_theta=500.0, rms_norm_eps=1e-3),
}


@pytest.fixture(params=VARIANTS.values(), ids=list(VARIANTS))
def config(request: pytest.FixtureRequest) -> LlamaConfig:
    return request.param


@pytest.fixture
def oracle(config: LlamaConfig) -> Iterator[LlamaForCausalLM]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(OracleConfig(**asdict(config), initializer_range=0.3))
        for name, weight in model.named_parameters():
            if "norm" in name:
                torch.nn.init.uniform_(weight, 0.5, 1.5)
        yield model.eval()


@pytest.fixture(params=["torch", "compiled"])
def llama(request: pytest.FixtureRequest, config: LlamaConfig, oracle: LlamaForCausalLM) -> Decoder:
    """Whatever is promised of the decoder holds for both."""
    if request.param == "torch":
        model = Llama(config)
        model.load(oracle.state_dict())
        return model
    if library() is None:
        pytest.skip("needs a C++ compiler")
    return CpuLlama(config, oracle.state_dict(), "float32")


def ids(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(PLAIN.vocab_size, (count,), generator=generator)


def whole(llama: Decoder, tokens: Tensor) -> Tensor:
    """Logits of every position, in one chunk."""
    cache = llama.new_cache(1, len(tokens))
    return run(llama, cache, [], [(tokens, 0, 0)])


def run(
    llama: Decoder,
    cache: KVCache,
    decodes: list[tuple[int, int]],
    chunks: list[tuple[Tensor, int, int]],
) -> Tensor:
    """`decodes`: (token, position) of rows 0...; `chunks`: (tokens, row, start)."""
    spans = [Span(row, start, len(tokens)) for tokens, row, start in chunks]
    flat = torch.cat(
        [torch.tensor([d[0] for d in decodes], dtype=torch.long)] + [c[0] for c in chunks]
    )
    positions = [d[1] for d in decodes] + [p for s in spans for p in range(s.start, s.end)]
    hidden = llama(llama.embed(flat), torch.tensor(positions), cache, len(decodes), spans)
    return llama.logits(hidden)


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)


@torch.no_grad()
def test_equals_transformers(llama: Decoder, oracle: LlamaForCausalLM) -> None:
    tokens = ids(40)
    close(whole(llama, tokens), oracle(tokens[None]).logits[0])


def test_cached_equals_uncached(llama: Decoder) -> None:
    tokens = ids(20)
    cache = llama.new_cache(1, 20)
    steps = [run(llama, cache, [(int(token), i)], []) for i, token in enumerate(tokens)]
    close(torch.cat(steps), whole(llama, tokens))


@pytest.mark.parametrize("cuts", [[1, 19], [7, 1, 12], [19, 1], [5, 5, 5, 5]])
def test_chunked_prefill_equals_whole(llama: Decoder, cuts: list[int]) -> None:
    tokens = ids(20)
    cache = llama.new_cache(2, 20)
    parts, start = [], 0
    for chunk in tokens.split(cuts):
        parts.append(run(llama, cache, [], [(chunk, 1, start)]))
        start += len(chunk)
    close(torch.cat(parts), whole(llama, tokens))


def test_a_mixed_batch_equals_each_alone(llama: Decoder) -> None:
    """Two rows decode at different lengths while one prompt begins and another goes on."""
    texts = [ids(9, 1), ids(23, 2), ids(6, 3), ids(15, 4)]
    cache = llama.new_cache(4, 32)
    run(llama, cache, [], [(texts[0][:8], 0, 0), (texts[1][:22], 1, 0), (texts[3][:10], 3, 0)])
    decodes = [(int(texts[0][8]), 8), (int(texts[1][22]), 22)]
    got = run(llama, cache, decodes, [(texts[2], 2, 0), (texts[3][10:], 3, 10)])
    alone = [whole(llama, text) for text in texts]
    close(got, torch.cat([alone[0][8:], alone[1][22:], alone[2], alone[3][10:]]))


def test_a_moved_row_goes_on_as_before(llama: Decoder) -> None:
    tokens, other = ids(12), ids(20, 5)
    cache = llama.new_cache(3, 32)
    run(llama, cache, [], [(other, 0, 0), (tokens[:11], 2, 0)])
    cache.move(2, 0, 11)
    got = run(llama, cache, [(int(tokens[11]), 11)], [])
    close(got, whole(llama, tokens)[11:])


@pytest.fixture
def small_beginnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pandagpt.model.kv_cache.FIRST_CAPACITY", 4)


@pytest.mark.usefixtures("small_beginnings")
def test_a_cache_that_grows_keeps_what_it_holds(
    config: LlamaConfig, oracle: LlamaForCausalLM
) -> None:
    llama, tokens, other = Llama(config), ids(20), ids(9, 5)
    llama.load(oracle.state_dict())
    cache = llama.new_cache(2, 32)
    run(llama, cache, [], [(tokens[:3], 0, 0), (other[:3], 1, 0)])
    assert cache.capacity == 4
    pairs = zip(tokens[3:9], other[3:], strict=True)
    for i, (token, beside) in enumerate(pairs, 3):
        got = run(llama, cache, [(int(token), i), (int(beside), i)], [])
    assert cache.capacity == 16
    close(got, torch.stack([whole(llama, tokens)[8], whole(llama, other)[8]]))
    close(run(llama, cache, [], [(tokens[9:], 0, 9)]), whole(llama, tokens)[9:])
    assert cache.capacity == 32


@pytest.mark.usefixtures("small_beginnings")
def test_a_slab_that_does_not_grow_has_room_at_once() -> None:
    """In whole blocks, an odd number of them."""
    for max_len, capacity in ((20, 24), (24, 24), (25, 40)):
        cache = KVCache(PLAIN, 1, max_len, grows=False, block=8)
        assert cache.capacity == capacity
        assert not cache.has_grown
        assert not cache.slab.any()


@pytest.mark.usefixtures("small_beginnings")
def test_a_cache_ends_at_its_longest() -> None:
    cache = KVCache(PLAIN, 1, 6)
    cache.reserve(5)
    assert cache.capacity == 6
    with pytest.raises(AssertionError):
        cache.reserve(7)
    cache.reset()
    assert cache.capacity == 4


def test_earlier_use_of_a_row_leaves_no_trace() -> None:
    llama = random_llama(PLAIN)
    tokens, other = ids(6), ids(30, 5)
    cache = KVCache(PLAIN, 2, 32)
    run(llama, cache, [], [(other, 0, 0), (other, 1, 0)])
    run(llama, cache, [], [(tokens[:5], 0, 0)])
    got = run(llama, cache, [(int(tokens[5]), 5), (int(other[0]), 30)], [])
    close(got[:1], whole(llama, tokens)[5:])


def test_the_embeddings_given_are_left_as_they_were() -> None:
    llama = random_llama(PLAIN)
    embeds = llama.embed(ids(4))
    before = embeds.clone()
    llama(embeds, torch.arange(4), KVCache(PLAIN, 1, 8), 0, [Span(0, 0, 4)])
    assert torch.equal(embeds, before)


@pytest.mark.parametrize("bounds", [(3, 0, 1), (0, 3, 1), (0, 1, 9), (-1, 0, 1)])
def test_a_move_outside_the_cache_is_our_mistake(bounds: tuple[int, int, int]) -> None:
    with pytest.raises(AssertionError):
        KVCache(PLAIN, 3, 8).move(*bounds)


def random_llama(config: LlamaConfig) -> Llama:
    llama = Llama(config)
    llama.load(random_state(llama))
    return llama


def random_state(llama: Llama) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {k: torch.randn(v.shape, generator=generator) for k, v in llama.weights().items()}


def test_loading_names_what_is_missing() -> None:
    state = random_state(Llama(PLAIN))
    del state["model.layers.1.mlp.up_proj.weight"]
    with pytest.raises(CheckpointError, match=r"missing.*model\.layers\.1\.mlp\.up_proj\.weight"):
        Llama(PLAIN).load(state)


def test_loading_names_what_is_unknown() -> None:
    state = random_state(Llama(PLAIN)) | {"model.layers.3.mlp.up_proj.weight": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"unknown.*model\.layers\.3\.mlp\.up_proj\.weight"):
        Llama(PLAIN).load(state)


def test_loading_names_a_wrong_shape() -> None:
    state = random_state(Llama(PLAIN)) | {"model.norm.weight": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight.*\[1\].*\[48\]"):
        Llama(PLAIN).load(state)


def test_tables_that_old_checkpoints_carry_are_not_weights() -> None:
    state = random_state(Llama(PLAIN))
    extra = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.zeros(4) for i in range(3)}
    Llama(PLAIN).load(state | extra)


def test_half_precision_stays_near_full() -> None:
    llama, tokens = random_llama(PLAIN), ids(10)
    half = Llama(PLAIN, dtype=torch.bfloat16)
    half.load({k: v / 10 for k, v in llama.weights().items()})
    llama.load({k: v / 10 for k, v in random_state(llama).items()})
    cache = KVCache(PLAIN, 1, 10, dtype=torch.bfloat16)
    got = run(half, cache, [], [(tokens, 0, 0)])
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, whole(llama, tokens), atol=0.1, rtol=0.1)
