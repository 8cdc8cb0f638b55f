"""A LLaMA-type language model as Hugging Face stores it, with a published delta added if given.

A folder (or two) in, tensors under Hugging Face's key names out, one at a time.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from pandagpt.errors import CheckpointError
from pandagpt.model.config import LlamaConfig
from pandagpt.model.hf_config import read_config, read_json
from pandagpt.model.llama import is_derived, llama_shapes
from pandagpt.model.tensor_files import Shapes, TensorFiles

HEAD = "lm_head.weight"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True, slots=True)
class Vicuna:
    config: LlamaConfig
    base: TensorFiles
    delta: TensorFiles | None

    @classmethod
    def open(cls, folder: Path, delta_folder: Path | None) -> Self:
        config, base = read_config(folder), open_weights(folder)
        is_tied = config.tie_word_embeddings
        base.check(llama_shapes(config), lambda key: is_derived(key) or (is_tied and key == HEAD))
        if delta_folder is None:
            return cls(config, base, None)
        delta_config, delta = read_config(delta_folder), open_weights(delta_folder)
        delta.check(llama_shapes(delta_config), ignored=is_derived)
        _check_fit(base, delta)
        return cls(delta_config, base, delta)

    @property
    def shapes(self) -> Shapes:
        return llama_shapes(self.config)

    def keys_of(self, path: Path) -> list[str]:
        return [key for key in self.shapes if self.base.path_of(key) == path]

    def read(self, key: str) -> Tensor:
        if self.delta is None:
            return self.base[key]
        return add_delta(self.base[key], self.delta[key])

    def close(self) -> None:
        self.base.close()
        if self.delta:
            self.delta.close()


def add_delta(base: Tensor, delta: Tensor) -> Tensor:
    """Sum in float32; rows that only the delta has (Vicuna v0's `[PAD]`) start from zero."""
    total = delta.to(torch.float32, copy=True)
    total[: len(base)] += base
    return total


def open_weights(folder: Path) -> TensorFiles:
    for name in WEIGHT_FILES:
        index = folder / f"{name}.index.json"
        if index.is_file():
            shards = set(read_json(index)["weight_map"].values())
            return TensorFiles(folder / shard for shard in sorted(shards))
        if (folder / name).is_file():
            return TensorFiles([folder / name])
    names = " nor ".join(WEIGHT_FILES)
    raise CheckpointError(f"holds neither {names}, nor an index of one", folder)


def _check_fit(base: TensorFiles, delta: TensorFiles) -> None:
    """A delta is another size's if it differs in more than additional rows (the vocabulary)."""
    for key in delta:
        if is_derived(key):
            continue
        if key not in base:
            raise CheckpointError(f"{key} is not in the base model", delta.path_of(key))
        ours, theirs = tuple(base[key].shape), tuple(delta[key].shape)
        if ours[1:] != theirs[1:] or ours[0] > theirs[0]:
            message = f"{key} has shape {list(theirs)}, the base model's is {list(ours)}"
            raise CheckpointError(message, delta.path_of(key))
