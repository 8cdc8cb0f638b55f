"""Published checkpoints -> one bundle: ImageBind, Vicuna (maybe as a delta), PandaGPT's adapter.

Reads every source by weights-only unpickling or safetensors, maps it instead of loading it, and
writes float16 tensor by tensor. Each tensor finds its place, or CheckpointError names it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pandagpt.media.modality import Modality
from pandagpt.model.adapter import PUBLISHED_LORA_ALPHA, adapter_shapes, published_lora
from pandagpt.model.checkpoint import BundleWriter, imagebind_shapes
from pandagpt.model.config import ImageBindConfig
from pandagpt.model.folder import load_tokenizer
from pandagpt.model.imagebind import MAX_LOGIT_SCALE
from pandagpt.model.manifest import (
    ADAPTER_FILE,
    IMAGEBIND_FILE,
    LLM_FILE,
    TOKENIZER_FILE,
    Manifest,
)
from pandagpt.model.tensor_files import Shapes, TensorFiles
from pandagpt.model.vicuna import Vicuna

Progress = Callable[[str, int, int], None]
"""File being written, bytes written so far, bytes in all."""

# PandaGPT was trained beside a copy of ImageBind that does not scale audio (model facts, 1.3).
PANDAGPT_IMAGEBIND = ImageBindConfig(scale_audio=False)
# Sources are mapped: what was read counts as ours until the map is closed.
MAX_MAPPED_BYTES = 1 << 30
HALF_BYTES = 2
MODEL_CARD = """# {name}

A PandaGPT bundle, made by `pandagpt convert` from {sources}.

Published ImageBind, LLaMA, Vicuna and PandaGPT weights are for non-commercial research only.
"""


def convert(
    imagebind: Path,
    vicuna: Path,
    vicuna_delta: Path | None,
    pandagpt: Path,
    out: Path,
    progress: Progress,
    *,
    name: str | None = None,
    balance_media: bool = False,
    imagebind_config: ImageBindConfig = PANDAGPT_IMAGEBIND,
    lora_alpha: int = PUBLISHED_LORA_ALPHA,
) -> None:
    """Writes the bundle `out`, which must not exist; after an error nothing is left of it.

    `vicuna`, and `vicuna_delta` that is added to it, are Hugging Face folders. The number of
    heads and LoRA's alpha cannot be read off weights: the defaults are the published models'.
    """
    encoders, adapter = TensorFiles([imagebind]), TensorFiles([pandagpt])
    encoders.check(imagebind_shapes(imagebind_config))
    llm = Vicuna.open(vicuna, vicuna_delta)
    lora = published_lora(adapter, lora_alpha)
    adapter.check(adapter_shapes(llm.config, lora, imagebind_config.embed_dim))
    load_tokenizer(vicuna / TOKENIZER_FILE, llm.config)
    manifest = Manifest(
        name=name or out.name,
        imagebind=imagebind_config,
        llama=llm.config,
        lora=lora,
        text_tokenizer="clip",
        fusion="sum",
        max_model_len=llm.config.max_position_embeddings,
        gains=balancing_gains(encoders, imagebind_config) if balance_media else {},
    )
    parts = [_plain(IMAGEBIND_FILE, encoders), *_llm_parts(llm), _plain(ADAPTER_FILE, adapter)]
    sources = [path.name for path in (imagebind, vicuna, vicuna_delta, pandagpt) if path]
    with BundleWriter(out) as writer:
        _write(writer, parts, progress)
        writer.tokenizer((vicuna / TOKENIZER_FILE).read_bytes())
        writer.model_card(MODEL_CARD.format(name=manifest.name, sources=", ".join(sources)))
        writer.finish(manifest)


def balancing_gains(encoders: TensorFiles, config: ImageBindConfig) -> dict[Modality, float]:
    """What undoes ImageBind's scales (thermal 10, ...), so that no medium drowns the others."""
    scaled = [Modality.DEPTH, Modality.THERMAL, Modality.IMU]
    if config.scale_audio:
        scaled.append(Modality.AUDIO)
    return {modality: 1 / _logit_scale(encoders, modality) for modality in scaled}


def _logit_scale(encoders: TensorFiles, modality: Modality) -> float:
    key = f"modality_postprocessors.{modality.encoder}.1.log_logit_scale"
    return min(math.exp(encoders[key].item()), MAX_LOGIT_SCALE)


@dataclass(frozen=True, slots=True)
class _Part:
    """One file of the bundle, and how to read (and let go of) the tensors that go into it."""

    name: str
    shapes: Shapes
    read: Callable[[str], Tensor]
    close: Callable[[], None]

    @property
    def num_bytes(self) -> int:
        return sum(HALF_BYTES * math.prod(shape) for shape in self.shapes.values())


def _plain(name: str, files: TensorFiles) -> _Part:
    shapes = {key: tuple(tensor.shape) for key, tensor in files.items()}
    return _Part(name, shapes, files.__getitem__, files.close)


def _llm_parts(llm: Vicuna) -> list[_Part]:
    """As many files as the source has: each stays of a size that can be moved and verified."""
    paths, shapes = llm.base.paths, llm.shapes
    names = [f"llm-{number:05}.safetensors" for number in range(1, len(paths) + 1)]
    return [
        _Part(name, {key: shapes[key] for key in llm.keys_of(path)}, llm.read, llm.close)
        for name, path in zip(names if len(paths) > 1 else [LLM_FILE], paths, strict=True)
    ]


def _write(writer: BundleWriter, parts: Sequence[_Part], progress: Progress) -> None:
    meter = _Meter(progress, sum(part.num_bytes for part in parts))
    for part in parts:
        writer.weights(part.name, part.shapes, meter.reader(part))
        part.close()


class _Meter:
    """Reports what has been read, and closes the sources' maps every so often."""

    def __init__(self, progress: Progress, num_bytes: int) -> None:
        self._progress, self._total = progress, num_bytes
        self._done = self._mapped = 0

    def reader(self, part: _Part) -> Callable[[str], Tensor]:
        return lambda key: self._read(part, key)

    def _read(self, part: _Part, key: str) -> Tensor:
        if self._mapped > MAX_MAPPED_BYTES:
            part.close()
            self._mapped = 0
        tensor = part.read(key)
        self._mapped += tensor.nbytes
        self._done += HALF_BYTES * tensor.numel()
        self._progress(part.name, self._done, self._total)
        return tensor
