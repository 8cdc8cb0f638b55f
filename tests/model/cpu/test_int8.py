"""Products with int8 weights, beside the same quantisation in torch."""

import platform
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pandagpt.model.config import LlamaConfig
from pandagpt.model.cpu import compiler
from pandagpt.model.cpu.decoder import CpuLlama
from pandagpt.model.llama import Llama

pytestmark = pytest.mark.skipif(compiler.library() is None, reason="needs a C++ compiler")

GROUP = 32
# What a processor is made to lack, from AVX512-VNNI down to no instruction of its own.
LESSER = {
    "avx512": ("-mno-avx512vnni",),
    "avx2": ("-mno-avx512f",),
    "plain": ("-mno-avx2", "-mno-avx512f"),
}


def head(num_in: int, num_out: int, seed: int = 0) -> tuple[CpuLlama, Tensor]:
    """A decoder of no layers, whose logits are one product, and its matrix."""
    config = LlamaConfig(
        hidden_size=num_in,
        intermediate_size=4,
        num_hidden_layers=0,
        num_attention_heads=1,
        num_key_value_heads=1,
        vocab_size=num_out,
        max_position_embeddings=8,
    )
    generator = torch.Generator().manual_seed(seed)
    shapes = {key: weight.shape for key, weight in Llama(config, device="meta").weights().items()}
    state = {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}
    return CpuLlama(config, state, "int8"), state["lm_head.weight"]


def inputs(count: int, num_in: int) -> Tensor:
    values = torch.randn(count, num_in, generator=torch.Generator().manual_seed(1))
    values[:, 0] *= 50  # an outlier takes the bits of its own group only
    return values


def quantized(values: Tensor) -> tuple[Tensor, Tensor]:
    """Integers [rows, groups, GROUP] and scales [rows, groups]."""
    groups = F.pad(values, (0, -values.shape[1] % GROUP)).unflatten(1, (-1, GROUP))
    scales = groups.abs().amax(-1) / 127
    return (groups / scales.where(scales > 0, 1.0)[..., None]).round(), scales


def expected(a: Tensor, b: Tensor) -> Tensor:
    (a_values, a_scales), (b_values, b_scales) = quantized(a.double()), quantized(b.double())
    counts = torch.einsum("mgk,ngk->mng", a_values, b_values)
    return torch.einsum("mng,mg,ng->mn", counts, a_scales, b_scales)


def lesser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: tuple[str, ...]) -> None:
    monkeypatch.setattr(compiler, "_folder", lambda: tmp_path)
    # Soon compiled; unfused products may differ in the last bit.
    monkeypatch.setattr(compiler, "MACHINES", (("-march=native", *flags, "-O1"),))
    compiler.library.cache_clear()


@pytest.mark.parametrize(
    ("num_in", "num_out"), [(1, 1), (30, 33), (32, 32), (84, 131), (128, 160), (257, 7)]
)
def test_products_are_those_of_the_quantised_numbers(num_in: int, num_out: int) -> None:
    """Of sizes that are multiples of nothing, too. A number halfway may round either way."""
    llama, matrix = head(num_in, num_out)
    for count in (1, 2, 3, 8, 9, 31):
        a = inputs(count, num_in)
        oracle = expected(a, matrix)
        assert (llama.logits(a) - oracle).norm() <= 2e-4 * oracle.norm(), count


def test_a_product_is_near_that_of_floats() -> None:
    llama, matrix = head(256, 96)
    a = inputs(16, 256)
    exact = a @ matrix.T
    assert (llama.logits(a) - exact).norm() < 0.02 * exact.norm()


def test_each_row_has_the_bits_it_gets_alone() -> None:
    llama, _ = head(84, 131)
    a = inputs(31, 84)
    alone = torch.cat([llama.logits(row[None]) for row in a])
    for count in range(1, 32):
        assert torch.equal(llama.logits(a[:count]), alone[:count]), count


def test_zeros_and_the_smallest_numbers_give_zeros() -> None:
    llama, _ = head(64, 40)
    a = torch.full((3, 64), 1e-40)
    a[0] = 0
    assert not llama.logits(a).any()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_stays_none(value: float) -> None:
    """In its own row: the sampler ends that sequence, and no other."""
    llama, _ = head(64, 40)
    a = inputs(3, 64)
    a[1, 5] = value
    logits = llama.logits(a)
    assert logits[[0, 2]].isfinite().all()
    assert not logits[1].isfinite().any()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flags are those of x86")
@pytest.mark.parametrize("flags", LESSER.values(), ids=LESSER.keys())
def test_lesser_processors_give_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    a = inputs(17, 84)
    best = head(84, 131)[0].logits(a)
    lesser(monkeypatch, tmp_path, flags)
    try:
        assert (head(84, 131)[0].logits(a) - best).norm() < 1e-6 * best.norm()
    finally:
        compiler.library.cache_clear()
