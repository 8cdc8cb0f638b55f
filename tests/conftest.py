"""Fixtures that many tests share: the golden set, and a whole tiny model made from it."""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pandagpt.model.config import EncoderConfig, ImageBindConfig
from pandagpt.model.convert import convert
from pandagpt.model.imagebind import ENCODERS

# Models this small gain nothing from more threads, and on a busy machine threads that wait
# for each other in a spin made the suite fifty times slower.
torch.set_num_threads(1)


@dataclass(frozen=True, slots=True)
class Published:
    """The golden model as the published ones come: what `convert` takes."""

    imagebind: Path
    vicuna: Path
    pandagpt: Path
    imagebind_config: ImageBindConfig
    lora_alpha: int


@pytest.fixture(scope="session")
def golden() -> Path:
    """Reference outputs; `PANDAGPT_GOLDEN` names another set of the same layout."""
    return Path(os.environ.get("PANDAGPT_GOLDEN", Path(__file__).parent / "parity" / "golden"))


@pytest.fixture(scope="session")
def golden_imagebind_config(golden: Path) -> ImageBindConfig:
    """Upstream's variant; PandaGPT's has `scale_audio=False`."""
    raw = json.loads((golden / "imagebind_tiny_config.json").read_text())
    config = ImageBindConfig(
        embed_dim=raw["out_embed_dim"],
        text_vocab_size=raw["text_vocab_size"],
        text_context_length=raw["text_context_length"],
    )
    for name in ENCODERS:
        width, num_blocks = raw[f"{name}_embed_dim"], raw[f"{name}_num_blocks"]
        encoder = EncoderConfig(width, num_blocks, raw[f"{name}_num_heads"])
        config = replace(config, **{name: encoder})
    return config


@pytest.fixture(scope="session")
def golden_published(
    golden: Path,
    golden_imagebind_config: ImageBindConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Published:
    imagebind = tmp_path_factory.mktemp("published") / "imagebind.pth"
    torch.save(load_file(golden / "imagebind_tiny.safetensors"), imagebind)
    meta = json.loads((golden / "splice" / "splice_meta.json").read_text())
    return Published(
        imagebind,
        golden / "splice" / "llama",
        golden / "splice" / "pytorch_model.pt",
        replace(golden_imagebind_config, scale_audio=False),
        meta["lora"]["alpha"],
    )


@pytest.fixture(scope="session")
def golden_bundle(golden_published: Published, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete PandaGPT with random weights, small enough for every test."""
    out = tmp_path_factory.mktemp("bundles") / "golden"
    source = golden_published
    convert(
        source.imagebind,
        source.vicuna,
        None,
        source.pandagpt,
        out,
        lambda file, done, total: None,
        imagebind_config=source.imagebind_config,
        lora_alpha=source.lora_alpha,
    )
    return out
