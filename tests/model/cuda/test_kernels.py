"""The Triton kernels against plain torch: on a GPU, or under TRITON_INTERPRET=1 on the CPU.

Interpreted they take half a minute, so nobody waits for them unasked.
"""

import os

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("no GPU, and TRITON_INTERPRET=1 is not set", allow_module_level=True)
pytest.importorskip("triton", reason="Triton comes with torch's CUDA wheels")

from pandagpt.model.cuda import kernels

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NUM_ROWS, CAPACITY = 5, 300
# Query heads, key heads, head dim: as LLaMA-1 has them, grouped, and no power of two.
HEADS = [(4, 4, 16), (4, 2, 8), (3, 1, 12)]


def random(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator).to(DEVICE, dtype)


def places(*values: int) -> Tensor:
    return torch.tensor(values, device=DEVICE)


@pytest.mark.parametrize("splits", [1, 4, 16])
@pytest.mark.parametrize("heads", HEADS)
def test_attention_reads_each_rows_own_positions(
    heads: tuple[int, int, int], splits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of rows shorter than a block, a block long, and not split evenly."""
    num_heads, num_kv_heads, dim = heads
    monkeypatch.setattr(kernels, "_num_splits", lambda programs: splits)
    layer = random(2, NUM_ROWS, num_kv_heads, CAPACITY, dim)
    q = random(NUM_ROWS, num_heads, dim)
    positions = places(0, 63, 64, 130, CAPACITY - 1)
    for row, position in enumerate(positions.tolist()):
        layer[:, row, :, position + 1 :] = float("nan")
    got = kernels.attend(q, layer, positions)
    for row, position in enumerate(positions.tolist()):
        k, v = layer[:, row : row + 1, :, : position + 1]
        expected = F.scaled_dot_product_attention(
            q[row, None, :, None], k, v, enable_gqa=num_heads != num_kv_heads
        )
        torch.testing.assert_close(got[row], expected.flatten(), atol=1e-5, rtol=1e-5)


def test_few_rows_are_split_and_many_are_not() -> None:
    assert kernels._num_splits(32) == 16
    assert kernels._num_splits(32 * 8) == 4
    assert kernels._num_splits(32 * 128) == 1


def test_attention_of_half_precision_sums_in_full() -> None:
    layer = random(2, 2, 4, CAPACITY, 16, dtype=torch.bfloat16)
    q = random(2, 4, 16, dtype=torch.bfloat16)
    positions = places(200, 299)
    exact = kernels.attend(q.float(), layer.float(), positions)
    got = kernels.attend(q, layer, positions)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got, exact.bfloat16())


@pytest.mark.parametrize("heads", HEADS)
def test_rotates_and_stores_where_it_is_told(heads: tuple[int, int, int]) -> None:
    num_heads, num_kv_heads, dim = heads
    qkv = random(3, num_heads + 2 * num_kv_heads, dim)
    rotary = random(40, 2, dim)
    layer = torch.zeros(2, 4, num_kv_heads, 50, dim, device=DEVICE)
    positions, where = places(0, 7, 39), places(0, 49, 39)
    x = qkv[:, : num_heads + num_kv_heads].clone()
    cos, sin = rotary[positions].split(1, dim=1)
    rotated = x * cos + x.roll(dim // 2, dims=-1) * sin
    values = qkv[:, num_heads + num_kv_heads :].clone()
    kernels.rotate_and_store(qkv, rotary, layer, positions, where)
    torch.testing.assert_close(qkv[:, :num_heads], rotated[:, :num_heads])
    for row, place in enumerate(where.tolist()):
        torch.testing.assert_close(layer[0, row, :, place], rotated[row, num_heads:])
        assert torch.equal(layer[1, row, :, place], values[row])
        layer[:, row, :, place] = 0
    assert not layer.any()


@pytest.mark.parametrize("width", [7, 1024, 1500])
def test_gates_the_second_half_by_the_first(width: int) -> None:
    x = random(3, 2 * width)
    first, second = x.chunk(2, dim=1)
    torch.testing.assert_close(kernels.gate(x), F.silu(first) * second)
