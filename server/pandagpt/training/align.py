"""The tiny ImageBind: its shape, and its training from the toy world alone (stages A and B).

`train_encoders` renders, trains vision and text, freezes the image embeddings, and binds
the other senses to them. The language model and its tokenizer come from elsewhere.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pandagpt.media.modality import Modality
from pandagpt.media.text import TextTokenizer
from pandagpt.model.config import ConvLayer, EncoderConfig, ImageBindConfig, StemConfig
from pandagpt.model.imagebind import ImageBind
from pandagpt.model.tokenizer import Tokenizer
from pandagpt.training.align_pictures import WordReader, align_pictures, embed_frames
from pandagpt.training.align_senses import Lesson, align_sense, start_from_vision
from pandagpt.training.fit import Plan, Report
from pandagpt.training.renderings import (
    COLUMNS,
    PICTURE_POOL,
    SOUND_POOL,
    Pictures,
    Recordings,
    draw_depths,
    draw_motions,
    draw_pictures,
    draw_sounds,
    draw_thermals,
)
from pandagpt.training.world.things import COLOURS

Log = Callable[[str], None]
EMBED_DIM = 128
WEIGHTS = "imagebind.safetensors"
WORD_READER = "word_reader.safetensors"
CHUNK = 500
# Evaluation draws from seeds far above these (`pandagpt.training.evaluation`).
SEED = 1


@dataclass(frozen=True, slots=True)
class EncoderPlan:
    num_pictures: int = 40_000
    pair_share: float = 0.45
    num_camera_pictures: int = 12_000
    sounds_per_thing: int = 100
    sound_pairs: int = 400
    motions_per_thing: int = 200
    pictures: Plan = field(default_factory=lambda: Plan(1500))
    depth: Plan = field(default_factory=lambda: Plan(600, peak_lr=1e-3))
    thermal: Plan = field(default_factory=lambda: Plan(600, peak_lr=1e-3))
    audio: Plan = field(default_factory=lambda: Plan(400, peak_lr=2e-3))
    imu: Plan = field(default_factory=lambda: Plan(400, peak_lr=2e-3))


def tiny_imagebind(text_vocab_size: int) -> ImageBindConfig:
    """`text_vocab_size`: the language model's pieces and the end of a text."""
    return ImageBindConfig(
        vision=EncoderConfig(128, 2, 4, _conv(PICTURE_POOL, (48, 96, 128))),
        text=EncoderConfig(96, 2, 4),
        audio=EncoderConfig(96, 2, 4, _conv(SOUND_POOL, (24, 48, 96, 96), standardize=True)),
        depth=EncoderConfig(128, 2, 4, _conv(PICTURE_POOL, (48, 96, 128), standardize=True)),
        thermal=EncoderConfig(128, 2, 4, _conv(PICTURE_POOL, (48, 96, 128), standardize=True)),
        imu=EncoderConfig(
            96,
            2,
            4,
            StemConfig(
                "conv",
                layers=(ConvLayer(32, 9, 4, 4), ConvLayer(64, 5, 4, 2), ConvLayer(96, 5, 2, 2)),
            ),
        ),
        embed_dim=EMBED_DIM,
        text_vocab_size=text_vocab_size,
    )


def _conv(pool: int, channels: tuple[int, ...], standardize: bool = False) -> StemConfig:
    return StemConfig("conv", pool, standardize, tuple(ConvLayer(c, 3, 2, 1) for c in channels))


def new_encoders(vocab_size: int, seed: int = 0) -> ImageBind:
    """Untrained. All logit scales are 1: scaling embeddings harms the language model."""
    torch.manual_seed(seed)
    model = ImageBind(tiny_imagebind(vocab_size + 1))
    for key, value in model.state_dict().items():
        if key.endswith("log_logit_scale"):
            value.zero_()
    return model


def train_encoders(
    out_dir: Path,
    tokenizer: Tokenizer,
    log: Log,
    device: str = "cpu",
    plan: EncoderPlan | None = None,
) -> ImageBind:
    """Stages A and B; leaves `imagebind.safetensors` and `imagebind.json` in `out_dir`."""
    plan = plan or EncoderPlan()
    pictures = draw_pictures(plan.num_pictures, plan.pair_share, SEED)
    log(f"images: {len(pictures.stages)} pictures drawn")
    train_pictures(out_dir, tokenizer, pictures, log, device, plan)
    return bind_senses(out_dir, tokenizer, pictures, log, device, plan)


def train_pictures(
    out_dir: Path,
    tokenizer: Tokenizer,
    pictures: Pictures,
    log: Log,
    device: str,
    plan: EncoderPlan,
) -> None:
    """Stage A."""
    model = new_encoders(tokenizer.vocab_size).to(device)
    reader = WordReader(EMBED_DIM).to(device)
    texts = TextTokenizer.sentencepiece(tokenizer.encode, tokenizer.vocab_size)
    align_pictures(model, reader, pictures, texts, plan.pictures, reporter(log, "images"))
    save_encoders(model, out_dir)
    save_file(reader.state_dict(), out_dir / WORD_READER)


def bind_senses(
    out_dir: Path,
    tokenizer: Tokenizer,
    pictures: Pictures,
    log: Log,
    device: str,
    plan: EncoderPlan,
) -> ImageBind:
    """Stage B, against the image embeddings that the stored, rounded weights give."""
    model = load_encoders(out_dir, tokenizer.vocab_size).to(device)
    images_ME = embed_pictures(model, pictures)
    for lesson, steps in lessons(pictures, plan):
        if lesson.modality in (Modality.DEPTH, Modality.THERMAL):
            start_from_vision(model, lesson.modality.encoder)
        align_sense(model, lesson, images_ME, steps, reporter(log, lesson.modality))
        save_encoders(model, out_dir)
    return model


def lessons(pictures: Pictures, plan: EncoderPlan) -> Iterator[tuple[Lesson, Plan]]:
    """What each other sense learns, drawn when its turn comes."""
    seen = pictures.stages[: plan.num_camera_pictures]
    own_scene = list(np.arange(len(seen))[:, None])
    colourless = _colourless(pictures.words[: len(seen)])
    for modality, draw, noise, steps in (
        (Modality.THERMAL, draw_thermals, 0.02, plan.thermal),
        (Modality.DEPTH, draw_depths, 0.005, plan.depth),
    ):
        yield Lesson(modality, draw(seen).inputs, own_scene, colourless, noise), steps
    sounds = draw_sounds(plan.sounds_per_thing, plan.sound_pairs, SEED)
    yield _by_names(Modality.AUDIO, sounds, pictures, 0.1), plan.audio
    motions = draw_motions(plan.motions_per_thing, SEED)
    yield _by_names(Modality.IMU, motions, pictures, 0.02), plan.imu


def _colourless(words: np.ndarray) -> list[bytes]:
    """Scenes that differ in colours alone are one to a camera that sees no colour."""
    coloured = [k for word, k in COLUMNS.items() if word.split()[0] in COLOURS]
    return [row.tobytes() for row in np.delete(words, coloured, axis=1)]


def _by_names(
    modality: Modality, recordings: Recordings, pictures: Pictures, noise: float
) -> Lesson:
    rows: dict[frozenset[str], list[int]] = {}
    for row, names in enumerate(pictures.names):
        rows.setdefault(frozenset(names), []).append(row)
    keys = [frozenset(names) for names in recordings.names]
    partners = {key: np.array(rows[key]) for key in set(keys)}
    return Lesson(modality, recordings.inputs, [partners[key] for key in keys], keys, noise)


def reporter(log: Log, stage: str) -> Report:
    return lambda step, loss: log(f"{stage}: step {step} loss {loss:.3f}")


@torch.no_grad()
def embed_pictures(model: ImageBind, pictures: Pictures) -> Tensor:
    """[N, E] of the pictures as they are, on the model's device."""
    device = next(model.parameters()).device
    pixels = pictures.pixels
    chunks = [pixels[start : start + CHUNK] for start in range(0, len(pixels), CHUNK)]
    return torch.cat([embed_frames(model, chunk, device) for chunk in chunks])


def save_encoders(model: ImageBind, out_dir: Path) -> None:
    """In half precision, as they are served."""
    out_dir.mkdir(parents=True, exist_ok=True)
    halves = {key: value.half().cpu() for key, value in model.state_dict().items()}
    save_file(halves, out_dir / WEIGHTS)
    (out_dir / "imagebind.json").write_text(json.dumps(model.config.to_dict(), indent=1))


def load_encoders(folder: Path, vocab_size: int) -> ImageBind:
    model = new_encoders(vocab_size)
    model.load_state_dict(load_file(folder / WEIGHTS))
    return model


def load_reader(folder: Path) -> WordReader:
    """What reads words off embeddings when they are measured; no part of the model."""
    reader = WordReader(EMBED_DIM)
    reader.load_state_dict(load_file(folder / WORD_READER))
    return reader
