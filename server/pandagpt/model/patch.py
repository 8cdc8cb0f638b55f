"""Low-rank differences where a decoder meets them: beside the outputs of its fused matrices.

Several models share the weights in memory. For the tokens of one that is not merged into them, a
small product is added to the outputs of those matrices where it differs. Knows no requests.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from torch import Tensor

from pandagpt.model.config import LlamaConfig
from pandagpt.model.lora import Difference

Place = Literal["qkv", "out", "gate_up", "down"]
PLACES: tuple[Place, ...] = get_args(Place)

Patched = Mapping[int, Sequence[int]]
"""By a difference's number in its decoder: the tokens of the flat batch it is added for."""

NOBODY: Patched = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Patch:
    """`b a x` is added to output `first` of a fused matrix and those behind it."""

    first: int
    a: Tensor
    b: Tensor

    @property
    def end(self) -> int:
        return self.first + len(self.b)


Patches = Mapping[tuple[int, Place], Sequence[Patch]]
"""By layer and place."""


def patches_of(difference: Difference, config: LlamaConfig) -> Patches:
    places = _places(config)
    patches: dict[tuple[int, Place], list[Patch]] = defaultdict(list)
    for key, low_rank in difference.items():
        _, _, layer, _, name, _ = key.split(".")
        place, first = places[name]
        patches[int(layer), place].append(Patch(first, low_rank.a, low_rank.b))
    return dict(patches)


def _places(config: LlamaConfig) -> dict[str, tuple[Place, int]]:
    """Of each projection (`config.PROJECTIONS`): its fused matrix, and its first row there."""
    num_q = config.num_attention_heads * config.head_dim
    num_kv = config.num_key_value_heads * config.head_dim
    return {
        "q_proj": ("qkv", 0),
        "k_proj": ("qkv", num_q),
        "v_proj": ("qkv", num_q + num_kv),
        "o_proj": ("out", 0),
        "gate_proj": ("gate_up", 0),
        "up_proj": ("gate_up", config.intermediate_size),
        "down_proj": ("down", 0),
    }
