"""LoRA: PandaGPT's adapter, added to the language model's weights as they are read.

One adapter is merged so. Another model of the same base is what its weights are beside those: a
low-rank difference. Key names are the reference's (PEFT's, under `llama_model`). Weights in,
weights out; files, shapes of whole checkpoints and devices are others' business.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pandagpt.errors import CheckpointError
from pandagpt.model.config import LoraConfig

PROJECTION_KEYS = frozenset({"llama_proj.weight", "llama_proj.bias"})
"""The rest of the reference's adapter file: what maps ImageBind's embedding to a token's."""

_PREFIX = "llama_model.base_model.model."


def lora_key(weight_key: str, part: str) -> str:
    """Where matrix `part` (A: [r, in], B: [out, r]) for this weight stands in the adapter."""
    return f"{_PREFIX}{weight_key.removesuffix('weight')}lora_{part}.default.weight"


def merge_lora(
    state: Mapping[str, Tensor], adapter: Mapping[str, Tensor], config: LoraConfig
) -> dict[str, Tensor]:
    """All weights at once; merged ones are float32."""
    return dict(MergedWeights(state, adapter, config))


class MergedWeights(Mapping[str, Tensor]):
    """`base` with LoRA's product added in float32, one weight at a time as it is read.

    Every target of every layer has its two matrices in `adapter`, and every matrix its target.
    """

    def __init__(
        self, base: Mapping[str, Tensor], adapter: Mapping[str, Tensor], config: LoraConfig
    ) -> None:
        self._base, self._adapter, self._config = base, adapter, config
        suffixes = tuple(f".{target}.weight" for target in config.targets)
        self._targets = {key for key in base if key.endswith(suffixes)}
        self._require_all_placed()

    def __getitem__(self, key: str) -> Tensor:
        weight = self._base[key]
        if key not in self._targets:
            return weight
        a, b = (self._adapter[lora_key(key, part)].float() for part in "AB")
        self._require_shapes(key, weight, a, b)
        # .to() with copy: a float32 base must not be added to in place.
        return weight.to(a.dtype, copy=True).addmm_(b, a, alpha=self._config.scale)

    def __iter__(self) -> Iterator[str]:
        return iter(self._base)

    def __len__(self) -> int:
        return len(self._base)

    def _require_all_placed(self) -> None:
        needed = {lora_key(key, part) for key in self._targets for part in "AB"}
        if missing := sorted(needed - self._adapter.keys()):
            raise CheckpointError(f"{len(missing)} LoRA matrices are missing, such as {missing[0]}")
        if unknown := sorted(self._adapter.keys() - needed - PROJECTION_KEYS):
            raise CheckpointError(
                f"{len(unknown)} adapter keys fit no weight, such as {unknown[0]}"
            )

    def _require_shapes(self, key: str, weight: Tensor, a: Tensor, b: Tensor) -> None:
        rank = self._config.r
        if (a.shape, b.shape) != ((rank, weight.shape[1]), (weight.shape[0], rank)):
            raise CheckpointError(
                f"the LoRA matrices of {key} are {list(a.shape)} and {list(b.shape)}; rank {rank} "
                f"and a weight of {list(weight.shape)} need others"
            )


@dataclass(frozen=True, slots=True)
class LowRank:
    """`b a`, to be added to a weight [out, in]: a [rank, in], b [out, rank], in float32."""

    a: Tensor
    b: Tensor


Difference = Mapping[str, LowRank]
"""By the keys of the weights that differ."""


def low_rank(
    adapter: Mapping[str, Tensor], config: LoraConfig, keys: Iterable[str], sign: int = 1
) -> Difference:
    """What the adapter adds to the weights `keys`, or takes from them if `sign` is -1."""
    scale = sign * config.scale
    pairs = ((key, [adapter[lora_key(key, part)].float() for part in "AB"]) for key in keys)
    return {key: LowRank(a, scale * b) for key, (a, b) in pairs}


def added(one: Difference, other: Difference) -> Difference:
    """Both: where they meet, their ranks add up."""
    both = {key: _stacked(one[key], other[key]) for key in one.keys() & other.keys()}
    return {**one, **other, **both}


def _stacked(one: LowRank, other: LowRank) -> LowRank:
    return LowRank(torch.cat([one.a, other.a]), torch.cat([one.b, other.b], dim=1))
