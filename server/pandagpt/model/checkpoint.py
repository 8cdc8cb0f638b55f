"""Bundles: the one directory format that is served. Reads them, and writes them whole or not.

A bundle holds a manifest, safetensors weights and a tokenizer. Every byte is verified and every
tensor placed, or CheckpointError names the file and the key; nothing is half loaded.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from pandagpt.errors import CheckpointError
from pandagpt.model.adapter import Adapter, adapter_of, variant
from pandagpt.model.adapter_folder import AdapterFolder, VariantSource
from pandagpt.model.config import ImageBindConfig, LlamaConfig
from pandagpt.model.cpu.decoder import CpuLlama
from pandagpt.model.cuda.decoder import CudaLlama
from pandagpt.model.decoder import Decoder
from pandagpt.model.device import REFERENCE, Placement
from pandagpt.model.folder import load_tokenizer, text_tokenizer
from pandagpt.model.imagebind import ImageBind
from pandagpt.model.llama import Llama, llama_shapes
from pandagpt.model.lora import MergedWeights
from pandagpt.model.manifest import (
    ADAPTER_FILE,
    IMAGEBIND_FILE,
    LLM_FILE,
    MANIFEST_FILE,
    TOKENIZER_FILE,
    FileFacts,
    Manifest,
)
from pandagpt.model.pandagpt import Encoders, PandaGPT
from pandagpt.model.tensor_files import Shapes, TensorFiles, write_tensors
from pandagpt.model.tokenizer import Tokenizer


def load_bundle(
    path: Path, place: Placement = REFERENCE, variants: Sequence[VariantSource] = ()
) -> PandaGPT:
    """The bundle's own adapter is merged into the weights; `variants` are models beside it."""
    manifest = Manifest.read(path)
    manifest.verify(path)
    adapter = Adapter.of(AdapterFolder(path, manifest), manifest)
    # Before the weights, which take their time: what does not fit is told at once.
    others = {source.name: adapter_of(source, manifest) for source in variants}
    tokenizer = load_tokenizer(path / TOKENIZER_FILE, manifest.llama)
    _check_text_vocabulary(path, manifest, tokenizer)
    encoders = Encoders(
        _load_imagebind(path, manifest.imagebind, place),
        adapter.projection(place.device, place.dtype),
        text_tokenizer(manifest, tokenizer),
        manifest.gains,
    )
    llama = _load_llama(path, manifest, adapter, place)
    return PandaGPT(
        manifest.name,
        llama,
        tokenizer,
        manifest.max_model_len,
        encoders,
        manifest.fusion,
        {name: variant(other, adapter, llama) for name, other in others.items()},
    )


def _check_text_vocabulary(path: Path, manifest: Manifest, tokenizer: Tokenizer) -> None:
    largest, size = text_tokenizer(manifest, tokenizer).end_id, manifest.imagebind.text_vocab_size
    if largest != size - 1:
        message = (
            f"{manifest.text_tokenizer} texts end with id {largest}, text_vocab_size is {size}"
        )
        raise CheckpointError(message, path / MANIFEST_FILE)


def imagebind_shapes(config: ImageBindConfig) -> Shapes:
    with torch.device("meta"):
        return {key: tuple(t.shape) for key, t in ImageBind(config).state_dict().items()}


def _load_imagebind(path: Path, config: ImageBindConfig, place: Placement) -> ImageBind:
    files = TensorFiles([path / IMAGEBIND_FILE])
    files.check(imagebind_shapes(config))
    with torch.device("meta"):
        model = ImageBind(config)
    # Scalars are logit scales, which exp() would make coarse in half precision.
    exact = torch.promote_types(place.dtype, torch.float32)
    state = {
        key: tensor.to(place.device, place.dtype if tensor.ndim else exact, copy=True)
        for key, tensor in files.items()
    }
    model.load_state_dict(state, strict=True, assign=True)
    return model.requires_grad_(False).eval()


def _load_llama(path: Path, manifest: Manifest, adapter: Adapter, place: Placement) -> Decoder:
    files = TensorFiles(path / name for name in manifest.llm_files)
    files.check(llama_shapes(manifest.llama))
    state = MergedWeights(files, adapter.tensors, manifest.lora) if manifest.lora else files
    return new_decoder(manifest.llama, state, place)


def new_decoder(config: LlamaConfig, state: Mapping[str, Tensor], place: Placement) -> Decoder:
    """`state` holds every weight, or more, which its owner has checked."""
    if place.cpu_weights is not None:
        return CpuLlama(config, state, place.cpu_weights)
    is_captured = place.captures and torch.device(place.device).type == "cuda"
    llama = (CudaLlama if is_captured else Llama)(config, place.device, place.dtype)
    llama.load(state)
    return llama


class BundleWriter:
    """Collects a bundle's files in a hidden folder; only `finish` gives it its name."""

    def __init__(self, out: Path, *, overwrite: bool = False) -> None:
        if out.exists() and not overwrite:
            raise CheckpointError("is there already; name a new folder", out)
        self.out = out
        self.folder = out.with_name(f".{out.name}.partial")
        self.files: dict[str, FileFacts] = {}

    def __enter__(self) -> Self:
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise CheckpointError(f"cannot be made ({error.strerror})", self.folder) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def weights(
        self,
        name: str,
        shapes: Shapes,
        read: Callable[[str], Tensor],
        dtype: torch.dtype = torch.float16,
    ) -> None:
        self.files[name] = write_tensors(self.folder / name, shapes, read, dtype)

    def tokenizer(self, model: bytes) -> None:
        path = self.folder / TOKENIZER_FILE
        path.write_bytes(model)
        self.files[TOKENIZER_FILE] = FileFacts.of(path)

    def model_card(self, text: str) -> None:
        """Not among the manifest's files: measured results are added to it later."""
        (self.folder / "README.md").write_text(text, encoding="utf-8")

    def finish(self, manifest: Manifest) -> None:
        replace(manifest, files=self.files).write(self.folder)
        if self.out.exists():
            shutil.rmtree(self.out)
        self.folder.rename(self.out)


def write_bundle(
    out: Path,
    manifest: Manifest,
    *,
    imagebind: Mapping[str, Tensor],
    llm: Mapping[str, Tensor],
    adapter: Mapping[str, Tensor],
    tokenizer: bytes,
    model_card: str,
    half: bool = False,
    overwrite: bool = False,
) -> None:
    """A whole bundle from state dicts under the reference's key names.

    A file is float16 where that loses nothing, or if `half` asks for rounding; else float32.
    `manifest.files` is filled in here.
    """
    states = {IMAGEBIND_FILE: imagebind, LLM_FILE: llm, ADAPTER_FILE: adapter}
    with BundleWriter(out, overwrite=overwrite) as writer:
        for name, state in states.items():
            shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
            exact = all(is_half_exact(tensor) for tensor in state.values())
            dtype = torch.float16 if half or exact else torch.float32
            writer.weights(name, shapes, state.__getitem__, dtype)
        writer.tokenizer(tokenizer)
        writer.model_card(model_card)
        writer.finish(manifest)


def is_half_exact(tensor: Tensor) -> bool:
    return tensor.ndim == 0 or torch.equal(tensor.to(torch.float16).to(tensor.dtype), tensor)
