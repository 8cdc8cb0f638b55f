"""The one door to weights: a folder in, a model on its device out.

A bundle, or a plain LLaMA as Hugging Face stores it. CheckpointError names the file that is wrong.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from pandagpt.model.adapter_folder import VariantSource
from pandagpt.model.checkpoint import load_bundle, new_decoder
from pandagpt.model.cpu.decoder import CpuWeights
from pandagpt.model.folder import is_bundle, load_plain_tokenizer
from pandagpt.model.pandagpt import PandaGPT
from pandagpt.model.vicuna import Vicuna


def load_model(
    folder: Path,
    device: str,
    dtype: torch.dtype,
    cpu_weights: CpuWeights | None = None,
    variants: Sequence[VariantSource] = (),
) -> PandaGPT:
    """`cpu_weights`: the language model is the compiled one, with its weights stored so.

    `variants` are models on the weights of a bundle; a plain LLaMA has none.
    """
    if is_bundle(folder):
        return load_bundle(folder, device, dtype, cpu_weights, variants)
    assert not variants, "refused before"
    source = Vicuna.open(folder, None)
    config = source.config
    tokenizer = load_plain_tokenizer(folder, config)
    llama = new_decoder(config, source.base, device, dtype, cpu_weights)
    source.close()
    return PandaGPT(folder.resolve().name, llama, tokenizer, config.max_position_embeddings)
