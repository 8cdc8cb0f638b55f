"""The one door to weights: a folder in, a model on its device out.

A bundle, or a plain LLaMA as Hugging Face stores it. CheckpointError names the file that is wrong.
"""

from collections.abc import Sequence
from pathlib import Path

from pandagpt.model.adapter_folder import VariantSource
from pandagpt.model.checkpoint import load_bundle, new_decoder
from pandagpt.model.device import REFERENCE, Placement
from pandagpt.model.folder import is_bundle, load_plain_tokenizer
from pandagpt.model.pandagpt import PandaGPT
from pandagpt.model.vicuna import Vicuna


def load_model(
    folder: Path, place: Placement = REFERENCE, variants: Sequence[VariantSource] = ()
) -> PandaGPT:
    """`variants` are models on the weights of a bundle; a plain LLaMA has none."""
    if is_bundle(folder):
        return load_bundle(folder, place, variants)
    assert not variants, "refused before"
    source = Vicuna.open(folder, None)
    config = source.config
    tokenizer = load_plain_tokenizer(folder, config)
    llama = new_decoder(config, source.base, place)
    source.close()
    return PandaGPT(folder.resolve().name, llama, tokenizer, config.max_position_embeddings)
