"""`make tiny`: the bundled model from nothing but this repository, with fixed seeds.

A folder in, a served bundle out. Encoders and language model need nothing of each other, so on
two cores they are trained side by side; finished stages are kept and not trained again.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.multiprocessing import get_context
from transformers import LlamaForCausalLM

from pandagpt.model.checkpoint import write_bundle
from pandagpt.model.imagebind import ImageBind
from pandagpt.model.manifest import Manifest
from pandagpt.model.tokenizer import SentencePieceTokenizer, Tokenizer
from pandagpt.training.align import (
    EncoderPlan,
    embed_pictures,
    load_encoders,
    new_encoders,
    train_encoders,
)
from pandagpt.training.corpus.vocabulary import train_vocabulary
from pandagpt.training.gallery import Gallery
from pandagpt.training.gate import cosines, gate
from pandagpt.training.instruct import SftPlan, instruct
from pandagpt.training.lm import LmPlan, new_llama, tiny_llama, train_lm
from pandagpt.training.renderings import draw_pictures

SEED = 0
# Neither the encoders' pictures (seed 1) nor the evaluation's.
GALLERY_SEED = 2
GALLERY_SIZE = 12_000
GALLERY_PAIR_SHARE = 0.25
MODEL_CARD = Path(__file__).with_name("model_card.md")
Log = Callable[[str], None]


def train_tiny(out: Path, device: str = "cpu", log: Log = print) -> None:
    """Writes the bundle to `out`, and what is kept of each stage beside it."""
    stages = out.with_name(f"{out.name}-stages")
    stages.mkdir(parents=True, exist_ok=True)
    log = _timed(log)
    vocabulary_stage(stages, log)
    encoders = get_context("spawn").Process(target=encoder_stage, args=(stages, device))
    encoders.start()
    language_stage(stages, device, log)
    encoders.join()
    if encoders.exitcode != 0:
        raise RuntimeError(f"the encoders' training ended with code {encoders.exitcode}")
    adapter_stage(stages, device, log)
    bundle_stage(stages, out)
    log(f"bundle written to {out}")


def vocabulary_stage(stages: Path, log: Log) -> None:
    path = stages / "tokenizer.model"
    if not path.exists():
        path.write_bytes(train_vocabulary(SEED))
        log(f"vocabulary: {tokenizer(stages).vocab_size} pieces")


def tokenizer(stages: Path) -> Tokenizer:
    return SentencePieceTokenizer((stages / "tokenizer.model").read_bytes())


def encoder_stage(stages: Path, device: str) -> None:
    """Stages A and B, in a process of their own."""
    if (stages / "encoders.done").exists():
        return
    _one_thread(device)
    train_encoders(stages, tokenizer(stages), _timed(print), device, EncoderPlan())
    (stages / "encoders.done").touch()


def language_stage(stages: Path, device: str, log: Log) -> None:
    """Stage C."""
    if (stages / "llm.safetensors").exists():
        return
    _one_thread(device)
    pieces = tokenizer(stages)

    def report(step: int, loss: float, model: LlamaForCausalLM) -> None:
        figures = gate(model, pieces)
        log(f"language model: step {step} loss {loss:.3f} right in text {figures}")
        log(f"language model: cosines among like words {cosines(model, pieces)}")

    model = train_lm(pieces, LmPlan(seed=SEED), device, report)
    save_file(half(model.state_dict()), stages / "llm.safetensors")


def adapter_stage(stages: Path, device: str, log: Log) -> None:
    """Stage D, on the rounded weights that will be served."""
    if (stages / "adapter.safetensors").exists():
        return
    pieces = tokenizer(stages)
    plan = SftPlan(seed=SEED)
    encoders = load_encoders(stages, pieces.vocab_size).eval().to(device)
    gallery = picture_gallery(encoders, plan.noise)
    log(f"instructions: {len(gallery.scenes)} pictures embedded")
    model = instruct(
        load_llama(stages, device), gallery, pieces, plan,
        lambda step, loss: log(f"instructions: step {step} loss {loss:.3f}"),
    )  # fmt: skip
    save_file(half(model.adapter()), stages / "adapter.safetensors")


def bundle_stage(stages: Path, out: Path) -> None:
    pieces = tokenizer(stages)
    manifest = Manifest(
        name="pandagpt-tiny",
        imagebind=new_encoders(pieces.vocab_size).config,
        llama=tiny_llama(pieces.vocab_size),
        lora=SftPlan().lora,
        text_tokenizer="sentencepiece",
        fusion="sum",
        max_model_len=tiny_llama(pieces.vocab_size).max_position_embeddings,
    )
    write_bundle(
        out,
        manifest,
        imagebind=load_file(stages / "imagebind.safetensors"),
        llm=load_file(stages / "llm.safetensors"),
        adapter=load_file(stages / "adapter.safetensors"),
        tokenizer=(stages / "tokenizer.model").read_bytes(),
        model_card=MODEL_CARD.read_text(encoding="utf-8"),
        half=True,
        overwrite=True,
    )


def picture_gallery(encoders: ImageBind, noise: float) -> Gallery:
    pictures = draw_pictures(GALLERY_SIZE, GALLERY_PAIR_SHARE, GALLERY_SEED)
    scenes = [stage.scene for stage in pictures.stages]
    return Gallery(scenes, embed_pictures(encoders, pictures).cpu(), noise)


def load_llama(stages: Path, device: str) -> LlamaForCausalLM:
    model = new_llama(tiny_llama(tokenizer(stages).vocab_size), SEED)
    weights = load_file(stages / "llm.safetensors")
    model.load_state_dict({key: value.float() for key, value in weights.items()})
    return model.requires_grad_(False).eval().to(device)


def half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().half().contiguous().cpu() for key, value in state.items()}


def _one_thread(device: str) -> None:
    """On CPU each of the two processes has a core of its own; it also fixes the sums' order."""
    if device == "cpu":
        torch.set_num_threads(1)


def _timed(log: Log) -> Log:
    start = time.monotonic()
    return lambda text: log(f"{time.monotonic() - start:6.0f} s  {text}")
