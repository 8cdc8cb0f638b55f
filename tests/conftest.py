"""Fixtures that many tests share: the golden set, and a whole tiny model made from it."""

import json
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pandagpt.model.adapter import PUBLISHED_LORA_ALPHA
from pandagpt.model.config import EncoderConfig, ImageBindConfig
from pandagpt.model.convert import convert
from pandagpt.model.imagebind import ENCODERS

# Models this small gain nothing from more threads, and on a busy machine threads that wait
# for each other in a spin made the suite fifty times slower.
torch.set_num_threads(1)

# In the background of a shell Ctrl-C is ignored, and would be by every server started here.
signal.signal(signal.SIGINT, signal.default_int_handler)

OTHER_RANK = 6


@dataclass(frozen=True, slots=True)
class Published:
    """The golden model as the published ones come: what `convert` takes."""

    imagebind: Path
    vicuna: Path
    pandagpt: Path
    imagebind_config: ImageBindConfig
    lora_alpha: int


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


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


def bundle_of(source: Published, out: Path) -> Path:
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


@pytest.fixture(scope="session")
def golden_bundle(golden_published: Published, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete PandaGPT with random weights, small enough for every test."""
    return bundle_of(golden_published, tmp_path_factory.mktemp("bundles") / "golden")


@pytest.fixture(scope="session")
def other_adapter(golden_published: Published, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second adapter for the golden model, as published ones come: random, of another rank."""
    folder = tmp_path_factory.mktemp("adapters") / "other"
    folder.mkdir()
    golden = torch.load(golden_published.pandagpt, weights_only=True)
    generator = torch.Generator().manual_seed(5)
    state = {}
    for key, tensor in golden.items():
        shape = [OTHER_RANK if n == golden_rank(golden) else n for n in tensor.shape]
        scale = 0.05 if "lora" in key else tensor.std()
        state[key] = (torch.randn(shape, generator=generator) * scale).half()
    torch.save(state, folder / "pytorch_model.pt")
    return folder


@pytest.fixture(scope="session")
def other_bundle(
    golden_published: Published, other_adapter: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The golden model with the second adapter instead of its own."""
    path = other_adapter / "pytorch_model.pt"
    source = replace(golden_published, pandagpt=path, lora_alpha=PUBLISHED_LORA_ALPHA)
    return bundle_of(source, tmp_path_factory.mktemp("bundles") / "other")


def golden_rank(adapter: dict[str, torch.Tensor]) -> int:
    return len(next(tensor for key, tensor in adapter.items() if "lora_A" in key))
