"""Adapters: projection and LoRA, out of their files and checked against the model they are for.

One is merged into the language model's weights; others, and the base without any, become models
beside it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from pandagpt.errors import CheckpointError
from pandagpt.logs import get_logger
from pandagpt.media.modality import Modality
from pandagpt.model.adapter_folder import AdapterFolder, VariantSource
from pandagpt.model.config import LlamaConfig, LoraConfig
from pandagpt.model.decoder import Decoder
from pandagpt.model.llama import llama_shapes
from pandagpt.model.lora import Difference, added, lora_key, low_rank
from pandagpt.model.manifest import ADAPTER_FILE, Manifest
from pandagpt.model.pandagpt import Variant
from pandagpt.model.tensor_files import Shapes, TensorFiles

PROJECTION_KEY = "llama_proj"
PUBLISHED_LORA_ALPHA = 32

log = get_logger()


@dataclass(frozen=True, slots=True)
class Adapter:
    tensors: TensorFiles
    lora: LoraConfig | None
    gains: Mapping[Modality, float]

    @classmethod
    def of(cls, folder: AdapterFolder, base: Manifest) -> Self:
        """One that fits the bundle `base`, or CheckpointError names what does not."""
        tensors = TensorFiles([folder.weights])
        lora = folder.manifest.lora if folder.manifest else published_lora(tensors)
        tensors.check(adapter_shapes(base.llama, lora, base.imagebind.embed_dim))
        _require_finite(tensors)
        return cls(tensors, lora, folder.gains)

    def projection(self, device: str, dtype: torch.dtype) -> nn.Linear:
        weight = self.tensors[f"{PROJECTION_KEY}.weight"]
        projection = nn.Linear(weight.shape[1], weight.shape[0], device=device, dtype=dtype)
        state = {name: self.tensors[f"{PROJECTION_KEY}.{name}"] for name in ("weight", "bias")}
        projection.load_state_dict(state)
        return projection.requires_grad_(False)

    def difference(self, llama: LlamaConfig, sign: int = 1) -> Difference:
        """What it adds to the base, or takes from it if `sign` is -1."""
        if self.lora is None:
            return {}
        keys = [key for key, _ in lora_targets(llama, self.lora)]
        return low_rank(self.tensors, self.lora, keys, sign)


def adapter_of(source: VariantSource, base: Manifest) -> Adapter | None:
    if source.folder is None:
        return None
    folder = AdapterFolder.open(Path(source.folder))
    if folder.manifest:
        folder.manifest.verify_file(folder.path, ADAPTER_FILE)
        _warn_of_other_weights(folder, folder.manifest, base)
    return Adapter.of(folder, base)


def variant(adapter: Adapter | None, merged: Adapter, llama: Decoder) -> Variant:
    """A model beside the merged one, whose adapter is taken away again."""
    difference = merged.difference(llama.config, sign=-1)
    if adapter is None:
        return Variant(llama.add_difference(difference))
    difference = added(adapter.difference(llama.config), difference)
    projection = adapter.projection(str(llama.device), llama.dtype)
    return Variant(llama.add_difference(difference), projection, adapter.gains)


def published_lora(tensors: TensorFiles, alpha: int = PUBLISHED_LORA_ALPHA) -> LoraConfig:
    """The rank is read off the weights; alpha cannot be."""
    key = lora_key("model.layers.0.self_attn.q_proj.weight", "A")
    matrix = tensors[key] if key in tensors else torch.empty(0)
    if matrix.ndim != 2 or not len(matrix):
        message = f"{key} is missing or no matrix; is it PandaGPT's adapter?"
        raise CheckpointError(message, tensors.paths[0])
    return LoraConfig(r=len(matrix), alpha=alpha)


def adapter_shapes(llama: LlamaConfig, lora: LoraConfig | None, embed_dim: int) -> Shapes:
    """Projection, and LoRA's A [r, in] and B [out, r] for each target of each layer."""
    shapes: dict[str, tuple[int, ...]] = {
        f"{PROJECTION_KEY}.weight": (llama.hidden_size, embed_dim),
        f"{PROJECTION_KEY}.bias": (llama.hidden_size,),
    }
    if lora is None:
        return shapes
    for key, (num_out, num_in) in lora_targets(llama, lora):
        shapes[lora_key(key, "A")] = (lora.r, num_in)
        shapes[lora_key(key, "B")] = (num_out, lora.r)
    return shapes


def lora_targets(llama: LlamaConfig, lora: LoraConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    suffixes = tuple(f"{target}.weight" for target in lora.targets)
    return (item for item in llama_shapes(llama).items() if item[0].endswith(suffixes))


def _warn_of_other_weights(folder: AdapterFolder, theirs: Manifest, base: Manifest) -> None:
    """Of the same shapes an adapter can be added, but was it trained beside these?"""
    names = [name for name in base.files if name in theirs.files and name != ADAPTER_FILE]
    if other := [name for name in names if theirs.files[name] != base.files[name]]:
        log.warning("adapter_of_other_weights", folder=str(folder.path), files=other)


def _require_finite(tensors: TensorFiles) -> None:
    for key, tensor in tensors.items():
        if not _is_finite(tensor):
            raise CheckpointError(
                f"{key} holds values that are no finite numbers", tensors.paths[0]
            )


def _is_finite(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and bool(tensor.isfinite().all())
