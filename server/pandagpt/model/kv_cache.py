"""Keys and values of the sequences that are being generated, one row of a slab each.

Knows shapes and rows; what is written and read there is the decoder's business.
"""

import math
import mmap
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from pandagpt.model.config import LlamaConfig

FIRST_CAPACITY = 128
"""Tokens a row that a cache has room for at first."""


@dataclass(frozen=True, slots=True)
class Span:
    """A chunk of a prompt: `length` new tokens at positions `start`... of cache row `row`."""

    row: int
    start: int
    length: int

    @property
    def end(self) -> int:
        return self.start + self.length


def rows_of(num_decodes: int, spans: Sequence[Span]) -> list[int]:
    """Of each token of a flat batch: the decodes stand in rows 0, 1, ..., then come the spans."""
    return [*range(num_decodes), *(span.row for span in spans for _ in range(span.length))]


class KVCache:
    """Keys and values of `num_rows` sequences of at most `max_len` tokens.

    A growing slab has room for the longest sequence of late: torch's products read rows that
    lie close together up to five times faster. Any other has room for `max_len` at once; on a
    CPU its memory is taken only where rows are used.

    Room and copies are whole blocks of `block` positions, within which a decoder may store
    what it likes as it likes.
    """

    def __init__(
        self,
        config: LlamaConfig,
        num_rows: int,
        max_len: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        *,
        grows: bool = True,
        fixed: bool = False,
        block: int = 1,
    ) -> None:
        """`fixed`: the slab never leaves its address, which captured steps know by heart."""
        assert not (grows and fixed)
        self.num_rows, self.max_len = num_rows, max_len
        self._config, self._device, self._dtype = config, torch.device(device), dtype
        self._grows, self._is_fixed, self._block = grows, fixed, block
        self._allocate()

    @property
    def capacity(self) -> int:
        return self.slab.shape[-2]

    @property
    def has_grown(self) -> bool:
        return self._grows and self.capacity > self._room(FIRST_CAPACITY)

    @torch.inference_mode()
    def reset(self) -> None:
        """Forgets everything."""
        if self._is_fixed:
            self.slab.zero_()
        else:
            self._allocate()

    def _allocate(self) -> None:
        first = min(self.max_len, FIRST_CAPACITY) if self._grows else self.max_len
        self._use(self._new_slab(self._room(first)))

    @torch.inference_mode()
    def reserve(self, length: int) -> None:
        """Makes room for `length` tokens a row; at least doubles, so that copies stay rare."""
        if length <= self.capacity:
            return
        assert length <= self.max_len
        wanted = min(self.max_len, max(length, 2 * self.capacity))
        grown = self._new_slab(self._room(wanted))
        grown[..., : self.capacity, :] = self.slab
        self._use(grown)

    @torch.inference_mode()
    def clear(self, row: int) -> None:
        self.slab[:, :, row].zero_()

    @torch.inference_mode()
    def move(self, src_row: int, dst_row: int, length: int) -> None:
        """Copies the first `length` positions over; 0 <= rows < num_rows, length <= capacity."""
        assert 0 <= src_row < self.num_rows
        assert 0 <= dst_row < self.num_rows
        assert 0 <= length <= self.capacity
        end = self._whole_blocks(length)
        self.slab[:, :, dst_row, :, :end] = self.slab[:, :, src_row, :, :end]

    @torch.inference_mode()
    def save(self, row: int, start: int, length: int) -> Tensor:
        """A copy of whole blocks of a row."""
        assert start % self._block == length % self._block == 0
        return self.slab[:, :, row, :, start : start + length].clone()

    @torch.inference_mode()
    def restore(self, row: int, start: int, saved: Tensor) -> None:
        self.slab[:, :, row, :, start : start + saved.shape[-2]] = saved

    def _whole_blocks(self, length: int) -> int:
        return -(-length // self._block) * self._block

    def _room(self, length: int) -> int:
        """An odd number of blocks, if they are any: rows that lie a power of two apart would
        all fall upon the same small part of a CPU's caches.
        """
        num_blocks = -(-length // self._block)
        return (num_blocks | 1) * self._block if self._block > 1 else length

    def _new_slab(self, capacity: int) -> Tensor:
        """Zeros: torch's decoder multiplies masked positions by 0, which NaN would survive."""
        config = self._config
        heads, dim = config.num_key_value_heads, config.head_dim
        shape = (config.num_hidden_layers, 2, self.num_rows, heads, capacity, dim)
        if self._device.type == "cpu" and not self._grows:
            return _untouched(shape, self._dtype)
        return torch.zeros(shape, device=self._device, dtype=self._dtype)

    def _use(self, slab: Tensor) -> None:
        self.slab = slab
        self.k, self.v = slab[:, 0], slab[:, 1]
        # [rows, positions, 2, K, D] per layer: one write stores a token's key and value.
        self.tokens = list(slab.permute(0, 2, 4, 1, 3, 5))


def _untouched(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros that take no memory before they are used, in small pages: the first tokens of all
    rows and heads lie far apart, and would take all of it in large ones.
    """
    memory = mmap.mmap(-1, math.prod(shape) * dtype.itemsize)
    with suppress(AttributeError, OSError):  # not on Linux, or a kernel without large pages
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype).view(shape)
