"""Products of integers, beside the same quantisation in torch."""

import platform
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pandagpt.model.config import LlamaConfig
from pandagpt.model.cpu import compiler
from pandagpt.model.cpu.decoder import CpuLlama, CpuWeights
from pandagpt.model.llama import Llama

pytestmark = pytest.mark.skipif(compiler.library() is None, reason="needs a C++ compiler")

GROUP = 32
KINDS: list[CpuWeights] = ["int16", "int8"]
LARGEST: dict[CpuWeights, int] = {"int16": 8191, "int8": 127}
# Of a product from that of floats.
BOUNDS: dict[CpuWeights, float] = {"int16": 3e-4, "int8": 0.02}
each_kind = pytest.mark.parametrize("kind", KINDS)
# What a processor is made to lack, from AVX512-VNNI down to no instruction of its own.
LESSER = {
    "avx512": ("-mno-avx512vnni",),
    "avx2": ("-mno-avx512f",),
    "plain": ("-mno-avx2", "-mno-avx512f"),
}


def head(
    kind: CpuWeights, num_in: int, num_out: int, fill: float | None = None
) -> tuple[CpuLlama, Tensor]:
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
    generator = torch.Generator().manual_seed(0)
    shapes = {key: weight.shape for key, weight in Llama(config, device="meta").weights().items()}
    state = {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}
    if fill is not None:
        state["lm_head.weight"].fill_(fill)
    return CpuLlama(config, state, kind), state["lm_head.weight"]


def inputs(count: int, num_in: int) -> Tensor:
    values = torch.randn(count, num_in, generator=torch.Generator().manual_seed(1))
    values[:, 0] *= 50  # an outlier takes the bits of its own group only
    return values


def quantized(values: Tensor, largest: int) -> tuple[Tensor, Tensor]:
    """Integers [rows, groups, GROUP] and scales [rows, groups], of which 16 bits are kept."""
    groups = F.pad(values, (0, -values.shape[1] % GROUP)).unflatten(1, (-1, GROUP))
    scales = groups.abs().amax(-1) / largest
    scales = (((scales.view(torch.int32) + 0xFFFF) >> 16) << 16).view(torch.float32).double()
    return (groups / scales.where(scales > 0, 1.0)[..., None]).round(), scales


def expected(kind: CpuWeights, a: Tensor, b: Tensor) -> Tensor:
    (a_values, a_scales), (b_values, b_scales) = (quantized(x, LARGEST[kind]) for x in (a, b))
    counts = torch.einsum("mgk,ngk->mng", a_values, b_values)
    return torch.einsum("mng,mg,ng->mn", counts, a_scales, b_scales)


def lesser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: tuple[str, ...]) -> None:
    monkeypatch.setattr(compiler, "_folder", lambda: tmp_path)
    # Soon compiled; unfused products may differ in the last bit.
    monkeypatch.setattr(compiler, "MACHINES", (("-march=native", *flags, "-O1"),))
    compiler.library.cache_clear()


@each_kind
@pytest.mark.parametrize(
    ("num_in", "num_out"), [(1, 1), (30, 33), (32, 32), (84, 131), (128, 160), (257, 7)]
)
def test_products_are_those_of_the_quantised_numbers(
    kind: CpuWeights, num_in: int, num_out: int
) -> None:
    """Of sizes that are multiples of nothing, too. A number halfway may round either way."""
    llama, matrix = head(kind, num_in, num_out)
    for count in (1, 2, 3, 8, 9, 31):
        a = inputs(count, num_in)
        oracle = expected(kind, a, matrix)
        assert (llama.logits(a) - oracle).norm() <= 2e-4 * oracle.norm(), count


@each_kind
def test_a_product_is_near_that_of_floats(kind: CpuWeights) -> None:
    llama, matrix = head(kind, 256, 96)
    a = inputs(16, 256)
    exact = a @ matrix.T
    assert (llama.logits(a) - exact).norm() < BOUNDS[kind] * exact.norm()


@each_kind
def test_the_largest_sums_do_not_overflow(kind: CpuWeights) -> None:
    """Numbers of one size are all LARGEST."""
    llama, _ = head(kind, 64, 40, fill=3.0)
    sizes = torch.tensor([1.0, -1.0, 1e20])
    products = llama.logits(sizes[:, None].expand(3, 64))
    assert torch.allclose(products, (sizes * 3 * 64)[:, None].expand(3, 40), rtol=0.01)


@each_kind
def test_each_row_has_the_bits_it_gets_alone(kind: CpuWeights) -> None:
    llama, _ = head(kind, 84, 131)
    a = inputs(31, 84)
    alone = torch.cat([llama.logits(row[None]) for row in a])
    for count in range(1, 32):
        assert torch.equal(llama.logits(a[:count]), alone[:count]), count


@each_kind
def test_zeros_and_the_smallest_numbers_give_zeros(kind: CpuWeights) -> None:
    llama, _ = head(kind, 64, 40)
    a = torch.full((3, 64), 1e-40)
    a[0] = 0
    assert not llama.logits(a).any()


@each_kind
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_stays_none(kind: CpuWeights, value: float) -> None:
    """In its own row: the sampler ends that sequence, and no other."""
    llama, _ = head(kind, 64, 40)
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
    best = {kind: head(kind, 84, 131)[0].logits(a) for kind in KINDS}
    lesser(monkeypatch, tmp_path, flags)
    try:
        for kind in KINDS:
            less = head(kind, 84, 131)[0].logits(a)
            assert (less - best[kind]).norm() < 3e-6 * best[kind].norm(), kind
    finally:
        compiler.library.cache_clear()
