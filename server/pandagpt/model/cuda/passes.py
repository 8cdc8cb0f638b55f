"""A decode step as a function of buffers that stay where they are: what a graph can capture.

Nothing in it is read by the host, and nothing of its shape depends on the sequences.
`TorchPass` is the decoder's own layers, over a number of positions that is fixed in advance;
for `KernelPass` see there. Axes: B rows of the cache, H hidden, D head dim.
"""

from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from pandagpt.model.kv_cache import KVCache
from pandagpt.model.llama import Llama, Step
from pandagpt.model.transfer import sent

# Positions that the shortest pass over all rows reads; each next one reads twice as many.
_SHORTEST = 256


@dataclass(frozen=True, slots=True)
class Buffers:
    """Inputs of all passes of a cache; a pass of B rows reads the first B, or 2 * B, of each."""

    embeds_BH: Tensor
    indices_2B: Tensor
    """Flat: positions of the new tokens, then the places where keys and values are written."""

    @classmethod
    def of(cls, llama: Llama, cache: KVCache) -> Self:
        rows, device = cache.num_rows, llama.device
        embeds = torch.zeros(rows, llama.config.hidden_size, device=device, dtype=llama.dtype)
        return cls(embeds, torch.zeros(2 * rows, device=device, dtype=torch.int64))

    def write(self, size: int, embeds_NH: Tensor, positions_N: Tensor, spare: int) -> None:
        """Rows of a pass of `size` that have no token stand at 0 and write to place `spare`."""
        num_rows = len(positions_N)
        indices = torch.zeros(2, size, dtype=torch.int64)
        indices[:, :num_rows] = positions_N
        indices[1, num_rows:] = spare
        self.indices_2B[: 2 * size].copy_(sent(indices.view(-1), self.indices_2B.device))
        self.embeds_BH[:num_rows].copy_(embeds_NH)

    def indices(self, size: int) -> tuple[Tensor, Tensor]:
        """Positions and places."""
        positions_B, places_B = self.indices_2B[: 2 * size].chunk(2)
        return positions_B, places_B


class Pass(Protocol):
    def __init__(
        self, llama: Llama, cache: KVCache, buffers: Buffers, size: int, length: int
    ) -> None:
        """Of rows 0 to `size`, none of which has more than `length` positions."""
        ...

    @staticmethod
    def lengths(max_len: int) -> tuple[int, ...]:
        """For which lengths there should be a pass of its own, the last one `max_len`."""
        ...

    def __call__(self) -> Tensor:
        """Hidden states [B, H] after the last norm."""
        ...


class TorchPass:
    def __init__(
        self, llama: Llama, cache: KVCache, buffers: Buffers, size: int, length: int
    ) -> None:
        self._llama, self._cache, self._buffers = llama, cache, buffers
        self._size, self._length = size, length
        self._rows_B = torch.arange(size, device=llama.device)

    @staticmethod
    def lengths(max_len: int) -> tuple[int, ...]:
        doubled = (_SHORTEST << number for number in range(max_len.bit_length()))
        return (*(length for length in doubled if length < max_len), max_len)

    def __call__(self) -> Tensor:
        positions_B, places_B = self._buffers.indices(self._size)
        cos_B1D, sin_B1D = self._llama.rotary(positions_B)
        step = Step(
            cos_N1D=cos_B1D,
            sin_N1D=sin_B1D,
            rows_N=self._rows_B,
            positions_N=places_B,
            num_decodes=self._size,
            decode_len=self._length,
            decode_mask_RK1S=self._llama.decode_mask(positions_B, self._length),
            spans=(),
            span_masks_TS=(),
        )
        hidden_BH = self._buffers.embeds_BH[: self._size].clone()
        return self._llama.through_layers(hidden_BH, step, self._cache)
