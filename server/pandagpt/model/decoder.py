"""What the engine asks of a language model, whatever computes it.

`llama.Llama` is plain torch, on any device; `cpu.decoder.CpuLlama` is compiled for this CPU.
Axes: N tokens of a flat batch, H hidden, V vocabulary.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from pandagpt.model.config import LlamaConfig
from pandagpt.model.kv_cache import KVCache, Span
from pandagpt.model.lora import Difference
from pandagpt.model.patch import NOBODY, Patched


class Decoder(Protocol):
    @property
    def config(self) -> LlamaConfig: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype:
        """Of embeddings and hidden states."""
        ...

    @property
    def kv_bytes_per_token(self) -> int: ...

    def new_cache(self, num_rows: int, max_len: int) -> KVCache: ...

    def add_difference(self, difference: Difference) -> int:
        """Another model on the same weights. Its number, for `patched`."""
        ...

    def embed(self, ids_N: Tensor) -> Tensor:
        """[N, H]"""
        ...

    def __call__(
        self,
        embeds_NH: Tensor,
        positions_N: Tensor,
        cache: KVCache,
        num_decodes: int,
        spans: Sequence[Span],
        patched: Patched = NOBODY,
    ) -> Tensor:
        """Hidden states [N, H] after the last norm; keys and values go to the cache.

        The first `num_decodes` tokens belong to cache rows 0, 1, ..., one each; then come the
        tokens of each span in order. `patched` tokens belong to other models than the one
        whose weights these are; the others get the bits that they get without them.
        """
        ...

    def logits(self, hidden_NH: Tensor) -> Tensor:
        """[N, V] in float32."""
        ...
