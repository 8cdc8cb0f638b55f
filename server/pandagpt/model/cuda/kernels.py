"""Triton kernels of a decode step: what torch would do in several calls a layer, or read twice.

Imported only where Triton is, which comes with torch's CUDA wheels. Under TRITON_INTERPRET=1
the same code runs on a CPU, where the tests compare it with torch; it compiles for a GPU, but
has not run on one yet. Sums are float32 whatever is stored.

Axes: B rows of the cache that decode, P query heads, K key heads, D head dim, S positions,
C heads of a fused projection (P + 2K), I the MLP's width. A layer of the cache's slab is
[2, rows, K, S, D].
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK_POSITIONS = 64
_BLOCK_VALUES = 1024
# Programs that keep every multiprocessor of a large GPU busy (132 on an H100), several each.
_ENOUGH_PROGRAMS = 1024
_MOST_SPLITS = 16


def rotate_and_store(
    qkv_BCD: Tensor,
    rotary_L2D: Tensor,
    layer_2RKSD: Tensor,
    positions_B: Tensor,
    places_B: Tensor,
) -> None:
    """Rotates queries and keys by their positions; keys and values go to `places_B` of their rows.

    Queries are changed in place; keys and values of `qkv_BCD` are left as they were.
    """
    num_rows, num_heads, head_dim = qkv_BCD.shape
    assert head_dim % 2 == 0
    assert qkv_BCD.dtype == layer_2RKSD.dtype
    _, _, num_kv_heads, _, _ = layer_2RKSD.shape
    kv, row, head, position, _ = layer_2RKSD.stride()
    _rotate_and_store[(num_rows, num_heads)](
        qkv_BCD,
        rotary_L2D,
        layer_2RKSD,
        positions_B,
        places_B,
        num_heads - 2 * num_kv_heads,
        num_kv_heads,
        qkv_BCD.stride(0),
        qkv_BCD.stride(1),
        kv,
        row,
        head,
        position,
        HALF=head_dim // 2,
        BLOCK=triton.next_power_of_2(head_dim // 2),
        num_warps=1,
    )


def attend(q_BPD: Tensor, layer_2RKSD: Tensor, positions_B: Tensor) -> Tensor:
    """[B, P * D]: each row's queries over its own positions up to the newest, and no others.

    Few rows are split over their positions, or most of the GPU would wait
    (https://pytorch.org/blog/flash-decoding/).
    """
    num_rows, num_heads, head_dim = q_BPD.shape
    splits = _num_splits(num_rows * num_heads)
    shape = (num_rows, num_heads, splits)
    sums_BPXD = torch.empty(*shape, head_dim, device=q_BPD.device, dtype=torch.float32)
    stats_BPX2 = torch.empty(*shape, 2, device=q_BPD.device, dtype=torch.float32)
    out_BH = torch.empty(num_rows, num_heads * head_dim, device=q_BPD.device, dtype=q_BPD.dtype)
    block_dim = triton.next_power_of_2(head_dim)
    kv, row, head, position, _ = layer_2RKSD.stride()
    _attend_to_a_part[shape](
        q_BPD,
        layer_2RKSD,
        positions_B,
        sums_BPXD,
        stats_BPX2,
        head_dim**-0.5,
        num_heads // layer_2RKSD.shape[2],
        q_BPD.stride(0),
        q_BPD.stride(1),
        kv,
        row,
        head,
        position,
        SPLITS=splits,
        DIM=head_dim,
        BLOCK_DIM=block_dim,
        BLOCK=_BLOCK_POSITIONS,
    )
    _join_parts[shape[:2]](
        sums_BPXD, stats_BPX2, out_BH, SPLITS=splits, DIM=head_dim, BLOCK_DIM=block_dim
    )
    return out_BH


def gate(gate_up_BI: Tensor) -> Tensor:
    """[B, I]: silu of the first half, times the second half."""
    num_rows, width = gate_up_BI.shape[0], gate_up_BI.shape[1] // 2
    out_BI = torch.empty(num_rows, width, device=gate_up_BI.device, dtype=gate_up_BI.dtype)
    _gate[(num_rows, triton.cdiv(width, _BLOCK_VALUES))](
        gate_up_BI, out_BI, width, BLOCK=_BLOCK_VALUES
    )
    return out_BI


def _num_splits(num_programs: int) -> int:
    wanted = triton.next_power_of_2(triton.cdiv(_ENOUGH_PROGRAMS, num_programs))
    return min(_MOST_SPLITS, wanted)


@triton.jit
def _rotate_and_store(
    qkv,
    rotary,
    layer,
    positions,
    places,
    num_heads,
    num_kv_heads,
    qkv_row,
    qkv_head,
    layer_kv,
    layer_row,
    layer_head,
    layer_position,
    HALF: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One head of one row: a query, a key or a value."""
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    dim = tl.arange(0, BLOCK)
    inside = dim < HALF
    source = qkv + row * qkv_row + head * qkv_head + dim
    first = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(source + HALF, mask=inside, other=0.0).to(tl.float32)
    target = source
    if head < num_heads + num_kv_heads:
        # Cosines, then sines that bear their signs: see `rotary.py`.
        table = rotary + tl.load(positions + row) * 4 * HALF + dim
        cos_1 = tl.load(table, mask=inside, other=0.0).to(tl.float32)
        cos_2 = tl.load(table + HALF, mask=inside, other=0.0).to(tl.float32)
        sin_1 = tl.load(table + 2 * HALF, mask=inside, other=0.0).to(tl.float32)
        sin_2 = tl.load(table + 3 * HALF, mask=inside, other=0.0).to(tl.float32)
        rotated = first * cos_1 + second * sin_1
        second = second * cos_2 + first * sin_2
        first = rotated
    if head >= num_heads:
        kv_head = (head - num_heads).to(tl.int64)
        cell = layer + row * layer_row + tl.load(places + row) * layer_position
        is_value = kv_head // num_kv_heads
        target = cell + is_value * layer_kv + kv_head % num_kv_heads * layer_head + dim
    tl.store(target, first.to(target.dtype.element_ty), mask=inside)
    tl.store(target + HALF, second.to(target.dtype.element_ty), mask=inside)


@triton.jit
def _attend_to_a_part(
    q,
    layer,
    positions,
    sums,
    stats,
    scale,
    group,
    q_row,
    q_head,
    layer_kv,
    layer_row,
    layer_head,
    layer_position,
    SPLITS: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One head of one row over one part of its positions, with a running maximum."""
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    split = tl.program_id(2)
    length = tl.load(positions + row).to(tl.int32) + 1
    part = tl.cdiv(tl.cdiv(length, BLOCK), SPLITS) * BLOCK
    start = split * part
    end = tl.minimum(start + part, length)
    dim = tl.arange(0, BLOCK_DIM)
    in_dim = dim < DIM
    query = tl.load(q + row * q_row + head * q_head + dim, mask=in_dim, other=0.0).to(tl.float32)
    query *= scale
    keys = layer + row * layer_row + (head // group).to(tl.int64) * layer_head
    largest = tl.full([], -float("inf"), tl.float32)
    total = tl.full([], 0.0, tl.float32)
    mixed = tl.zeros([BLOCK_DIM], tl.float32)
    for first in range(start, end, BLOCK):
        position = first + tl.arange(0, BLOCK)
        in_part = position < end
        cells = keys + position[:, None] * layer_position + dim[None, :]
        mask = in_part[:, None] & in_dim[None, :]
        key = tl.load(cells, mask=mask, other=0.0).to(tl.float32)
        value = tl.load(cells + layer_kv, mask=mask, other=0.0).to(tl.float32)
        scores = tl.where(in_part, tl.sum(key * query[None, :], axis=1), -float("inf"))
        larger = tl.maximum(largest, tl.max(scores, axis=0))
        weights = tl.exp(scores - larger)
        shrink = tl.exp(largest - larger)
        total = total * shrink + tl.sum(weights, axis=0)
        mixed = mixed * shrink + tl.sum(weights[:, None] * value, axis=0)
        largest = larger
    place = (row * tl.num_programs(1) + head) * SPLITS + split
    tl.store(sums + place * DIM + dim, mixed, mask=in_dim)
    tl.store(stats + place * 2, largest)
    tl.store(stats + place * 2 + 1, total)


@triton.jit
def _join_parts(sums, stats, out, SPLITS: tl.constexpr, DIM: tl.constexpr, BLOCK_DIM: tl.constexpr):
    """The parts of one head of one row; an empty one has a maximum of -inf and weighs nothing."""
    place = tl.program_id(0).to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
    split = tl.arange(0, SPLITS)
    dim = tl.arange(0, BLOCK_DIM)
    in_dim = dim < DIM
    largest = tl.load(stats + (place * SPLITS + split) * 2)
    total = tl.load(stats + (place * SPLITS + split) * 2 + 1)
    cells = sums + (place * SPLITS + split[:, None]) * DIM + dim[None, :]
    mixed = tl.load(cells, mask=in_dim[None, :] & (split[:, None] >= 0), other=0.0)
    weights = tl.exp(largest - tl.max(largest, axis=0))
    whole = tl.sum(mixed * weights[:, None], axis=0) / tl.sum(total * weights, axis=0)
    tl.store(out + place * DIM + dim, whole.to(out.dtype.element_ty), mask=in_dim)


@triton.jit
def _gate(gate_up, out, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < width
    source = gate_up + row * 2 * width + at
    gate_value = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    up_value = tl.load(source + width, mask=inside, other=0.0).to(tl.float32)
    gated = gate_value * tl.sigmoid(gate_value) * up_value
    tl.store(out + row * width + at, gated.to(out.dtype.element_ty), mask=inside)
