"""A decode step with Triton's kernels between the matrix products: each row reads what it has.

Imported only where Triton is. Axes: B rows of the cache, H hidden, C heads of queries, keys
and values, D head dim.
"""

import torch.nn.functional as F
from torch import Tensor

from pandagpt.model.cuda import kernels
from pandagpt.model.cuda.passes import Buffers
from pandagpt.model.kv_cache import KVCache
from pandagpt.model.llama import Layer, Llama


class KernelPass:
    """A `Pass` (see `passes`)."""

    def __init__(
        self, llama: Llama, cache: KVCache, buffers: Buffers, size: int, length: int
    ) -> None:
        self._llama, self._cache, self._buffers = llama, cache, buffers
        self._size = size

    @staticmethod
    def lengths(max_len: int) -> tuple[int, ...]:
        return (max_len,)

    def __call__(self) -> Tensor:
        llama = self._llama
        hidden_BH = self._buffers.embeds_BH[: self._size].clone()
        for layer in llama.layers:
            assert isinstance(layer, Layer)
            self._update(hidden_BH, layer)
        return _norm(hidden_BH, llama.norm, llama.config.rms_norm_eps)

    def _update(self, hidden_BH: Tensor, layer: Layer) -> None:
        """As `Layer.update`, of decodes alone."""
        normed_BH = _norm(hidden_BH, layer.attention_norm, layer.eps)
        qkv_BCD = F.linear(normed_BH, layer.qkv).view(self._size, -1, layer.head_dim)
        hidden_BH.addmm_(self._attend(qkv_BCD, layer), layer.out.t())
        normed_BH = _norm(hidden_BH, layer.mlp_norm, layer.eps)
        gated = kernels.gate(F.linear(normed_BH, layer.gate_up))
        hidden_BH.addmm_(gated, layer.down.t())

    def _attend(self, qkv_BCD: Tensor, layer: Layer) -> Tensor:
        positions_B, places_B = self._buffers.indices(self._size)
        slab = self._cache.slab[layer.index]
        kernels.rotate_and_store(qkv_BCD, self._llama.rotary_L2D, slab, positions_B, places_B)
        return kernels.attend(qkv_BCD[:, : layer.num_heads], slab, positions_B)


def _norm(hidden_BH: Tensor, weight_H: Tensor, eps: float) -> Tensor:
    return F.rms_norm(hidden_BH, weight_H.shape, weight_H, eps)
