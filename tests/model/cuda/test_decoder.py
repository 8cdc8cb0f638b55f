"""Captured decode steps against the decoder's own, on the CPU: a capture here is a function.

With kernels only under TRITON_INTERPRET=1, which takes a minute.
"""

import os
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pandagpt.model.config import LlamaConfig
from pandagpt.model.cuda import decoder as decoder_file
from pandagpt.model.cuda import graphs
from pandagpt.model.cuda.decoder import CudaLlama
from pandagpt.model.cuda.graphs import Captured, DecodeGraphs, sizes_of
from pandagpt.model.cuda.passes import Pass, TorchPass
from pandagpt.model.kv_cache import KVCache, Span
from pandagpt.model.llama import Llama
from pandagpt.model.lora import LowRank

CONFIG = LlamaConfig(
    hidden_size=16,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    vocab_size=101,
    max_position_embeddings=300,
)
CONFIGS = {"plain": CONFIG, "grouped": replace(CONFIG, num_key_value_heads=1)}
NUM_ROWS, MAX_LEN = 3, 300


def replayed(run: Callable[[], Tensor]) -> Captured:
    """As a graph does it: always into the same memory."""
    hidden = run().clone()
    return Captured(lambda: hidden.copy_(run()), hidden)


def torch_pass() -> type[Pass]:
    return TorchPass


def kernel_pass() -> type[Pass]:
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("TRITON_INTERPRET=1 runs it")
    pytest.importorskip("triton", reason="Triton comes with torch's CUDA wheels")
    from pandagpt.model.cuda.kernel_pass import KernelPass

    return KernelPass


def random_state(llama: Llama) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {k: torch.randn(v.shape, generator=generator) for k, v in llama.weights().items()}


def llama_of(config: LlamaConfig, kind: type[Llama] = CudaLlama) -> Llama:
    llama = kind(config)
    llama.load(random_state(llama))
    return llama


@pytest.fixture(params=CONFIGS.values(), ids=list(CONFIGS))
def config(request: pytest.FixtureRequest) -> LlamaConfig:
    return request.param


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CudaLlama, "new_capture", staticmethod(lambda: replayed))


@pytest.fixture(params=[torch_pass, kernel_pass])
def llama(
    request: pytest.FixtureRequest, config: LlamaConfig, monkeypatch: pytest.MonkeyPatch
) -> CudaLlama:
    """One way alone, so that it is this one that is tested."""
    way = request.param()
    monkeypatch.setattr(decoder_file, "_torch_pass", lambda: way)
    monkeypatch.setattr(decoder_file, "_kernel_pass", lambda: way)
    # Interpreted kernels take a millisecond a head and part.
    monkeypatch.setattr(graphs, "_TIMED_RUNS", 1)
    if way is not TorchPass:
        monkeypatch.setattr("pandagpt.model.cuda.kernels._MOST_SPLITS", 2)
    model = llama_of(config)
    assert isinstance(model, CudaLlama)
    return model


def fill(llama: Llama, cache: KVCache, lengths: list[int]) -> None:
    spans = [Span(row, 0, length) for row, length in enumerate(lengths)]
    positions = torch.cat([torch.arange(length) for length in lengths])
    llama(llama.embed(positions % 97), positions, cache, 0, spans)


def decode(llama: Llama, cache: KVCache, positions: list[int]) -> Tensor:
    ids = torch.arange(len(positions)) + 3
    hidden = llama(llama.embed(ids), torch.tensor(positions), cache, len(positions), [])
    return llama.logits(hidden)


@pytest.mark.parametrize("num_rows", range(1, NUM_ROWS + 1))
def test_a_captured_step_equals_the_decoders_own(llama: CudaLlama, num_rows: int) -> None:
    lengths = [3, 299, 64][:num_rows]
    cache = llama.new_cache(NUM_ROWS, MAX_LEN)
    assert llama.graphs is not None
    plain = llama_of(llama.config, Llama)
    expected_cache = plain.new_cache(NUM_ROWS, MAX_LEN)
    fill(llama, cache, lengths)
    fill(plain, expected_cache, lengths)
    expected = decode(plain, expected_cache, lengths)
    torch.testing.assert_close(decode(llama, cache, lengths), expected, atol=1e-3, rtol=1e-4)


def test_unused_rows_touch_no_sequence(llama: CudaLlama) -> None:
    """Three rows decode in a step of four, while the fourth is being read, chunk by chunk."""
    cache = llama.new_cache(4, MAX_LEN)
    fill(llama, cache, [4, 5, 6, 7])
    before = cache.slab.clone()
    decode(llama, cache, [4, 5, 6])
    before[:, :, :3] = cache.slab[:, :, :3]
    assert torch.equal(cache.slab[..., :MAX_LEN, :], before[..., :MAX_LEN, :])


def test_a_step_that_reads_a_prompt_is_torchs(llama: CudaLlama) -> None:
    cache = llama.new_cache(NUM_ROWS, MAX_LEN)
    plain = llama_of(llama.config, Llama)
    expected_cache = plain.new_cache(NUM_ROWS, MAX_LEN)
    results = []
    for model, used in ((llama, cache), (plain, expected_cache)):
        fill(model, used, [4])
        flat, positions = torch.arange(6), torch.tensor([4, 0, 1, 2, 3, 4])
        hidden = model(model.embed(flat), positions, used, 1, [Span(1, 0, 5)])
        results.append(model.logits(hidden))
    assert torch.equal(*results)


def test_a_step_with_another_model_is_torchs() -> None:
    """One row of the merged model, one of another on the same weights."""
    low_rank = LowRank(torch.randn(2, CONFIG.hidden_size), torch.randn(CONFIG.hidden_size, 2))
    results = []
    for kind in (CudaLlama, Llama):
        model = llama_of(CONFIG, kind)
        number = model.add_difference({"model.layers.1.self_attn.q_proj.weight": low_rank})
        cache = model.new_cache(2, 40)
        fill(model, cache, [4, 9])
        embeds, positions = model.embed(torch.tensor([3, 4])), torch.tensor([4, 9])
        results.append(model(embeds, positions, cache, 2, [], {number: [1]}))
        assert not torch.equal(results[-1], model(embeds, positions, cache, 2, []))
    assert torch.equal(*results)


def test_a_reset_cache_is_empty_and_where_it_was(llama: CudaLlama) -> None:
    cache = llama.new_cache(NUM_ROWS, MAX_LEN)
    assert not cache.slab.any(), "what the checks wrote is gone"
    fill(llama, cache, [4])
    address = cache.slab.data_ptr()
    cache.reset()
    assert cache.slab.data_ptr() == address
    assert not cache.slab.any()


def test_only_the_newest_cache_is_captured(llama: CudaLlama) -> None:
    old = llama.new_cache(2, 40)
    fill(llama, old, [4, 9])
    expected = decode(llama, old, [4, 9])
    llama.new_cache(3, 50)
    torch.testing.assert_close(decode(llama, old, [4, 9]), expected, atol=1e-3, rtol=1e-4)


class Wrong(TorchPass):
    """A step that is nearly right."""

    def __call__(self) -> Tensor:
        return super().__call__() * 1.01


class Broken(TorchPass):
    def __call__(self) -> Tensor:
        return super().__call__() * float("nan")


class Raising(TorchPass):
    def __call__(self) -> Tensor:
        raise RuntimeError("injected")


class WrongFarAway(TorchPass):
    """A step that is right for short sequences: it does not see what lies behind a block."""

    def __call__(self) -> Tensor:
        positions_B, _ = self._buffers.indices(self._size)
        return super().__call__() * torch.where(positions_B > 64, 1.01, 1.0)[:, None]


@pytest.mark.parametrize("way", [Wrong, Broken, Raising, WrongFarAway])
def test_what_does_not_agree_is_not_used(way: type[Pass], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_file, "_torch_pass", lambda: way)
    monkeypatch.setattr(decoder_file, "_kernel_pass", lambda: way)
    assert_torch_decodes()


def assert_torch_decodes() -> None:
    llama, plain = llama_of(CONFIG), llama_of(CONFIG, Llama)
    cache, expected_cache = llama.new_cache(2, MAX_LEN), plain.new_cache(2, MAX_LEN)
    assert isinstance(llama, CudaLlama)
    assert llama.graphs is None
    assert not cache.slab.any()
    fill(llama, cache, [4, 9])
    fill(plain, expected_cache, [4, 9])
    assert torch.equal(decode(llama, cache, [4, 9]), decode(plain, expected_cache, [4, 9]))


def test_a_capture_that_fails_when_it_is_timed_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(captured: DecodeGraphs) -> float:
        captured.cache.slab.fill_(1)
        raise RuntimeError("injected")

    monkeypatch.setattr(decoder_file, "_kernel_pass", torch_pass)
    monkeypatch.setattr(DecodeGraphs, "seconds", failing)
    assert_torch_decodes()


def test_a_way_that_fails_at_some_size_leaves_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial sees the smallest and the largest step alone."""

    class WrongInTheMiddle(TorchPass):
        def __call__(self) -> Tensor:
            return super().__call__() * (1.01 if self._size == 2 else 1)

    def seconds(captured: DecodeGraphs) -> float:
        return 1.0 if captured.way is WrongInTheMiddle else 2.0

    monkeypatch.setattr(decoder_file, "_kernel_pass", lambda: WrongInTheMiddle)
    monkeypatch.setattr(DecodeGraphs, "seconds", seconds)
    llama = llama_of(CONFIG)
    llama.new_cache(3, 40)
    assert isinstance(llama, CudaLlama)
    assert llama.graphs is not None
    assert llama.graphs.way is TorchPass


def test_captured_steps_that_fail_later_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: DecodeGraphs, embeds_NH: Tensor, positions_N: Tensor) -> Tensor:
        raise RuntimeError("no")

    llama = llama_of(CONFIG)
    cache = llama.new_cache(NUM_ROWS, MAX_LEN)
    fill(llama, cache, [4])
    monkeypatch.setattr(DecodeGraphs, "__call__", broken)
    with pytest.raises(RuntimeError, match="no"):
        decode(llama, cache, [4])
    assert isinstance(llama, CudaLlama)
    assert llama.graphs is None
    plain = llama_of(CONFIG, Llama)
    expected_cache = plain.new_cache(NUM_ROWS, MAX_LEN)
    fill(plain, expected_cache, [4])
    torch.testing.assert_close(decode(llama, cache, [4]), decode(plain, expected_cache, [4]))


def test_without_triton_torch_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> type[Pass]:
        raise ModuleNotFoundError("No module named 'triton'")

    monkeypatch.setattr(decoder_file, "_kernel_pass", absent)
    llama = llama_of(CONFIG)
    llama.new_cache(2, 40)
    assert isinstance(llama, CudaLlama)
    assert llama.graphs is not None


def test_the_faster_way_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(TorchPass):
        pass

    def seconds(captured: DecodeGraphs) -> float:
        return 1.0 if captured.way is Other else 2.0

    monkeypatch.setattr(decoder_file, "_kernel_pass", lambda: Other)
    monkeypatch.setattr(DecodeGraphs, "seconds", seconds)
    llama = llama_of(CONFIG)
    llama.new_cache(2, 40)
    assert isinstance(llama, CudaLlama)
    assert llama.graphs is not None
    assert llama.graphs.way is Other


def test_steps_of_every_size_are_captured() -> None:
    assert sizes_of(1) == (1,)
    assert sizes_of(5) == (1, 2, 4, 5)
    assert sizes_of(8) == (1, 2, 4, 8)
    assert sizes_of(200) == (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 200)
    assert TorchPass.lengths(100) == (100,)
    assert TorchPass.lengths(2048) == (256, 512, 1024, 2048)


def test_a_sequence_of_two_tokens_can_be_captured() -> None:
    """The shortest cache that holds a prompt and its answer."""
    llama = llama_of(CONFIG)
    llama.new_cache(1, 2)
    assert isinstance(llama, CudaLlama)
    assert llama.graphs is not None
