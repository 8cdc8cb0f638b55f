"""Gate G1: what the encoders alone can tell, measured on held-out files through `media.load`.

Naming is by the nearest prototype: a thing's mean embedding over training images. Colour,
size and position are read by the linear reader trained with the images.
Axes: N items, E embedding, T things.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pandagpt.media.limits import MediaLimits
from pandagpt.media.loader import load
from pandagpt.media.modality import Modality
from pandagpt.media.options import MediaOptions
from pandagpt.media.text import TextTokenizer
from pandagpt.model.imagebind import ImageBind
from pandagpt.training.align_pictures import WordReader, embed_frames, embed_texts
from pandagpt.training.heldout import HeldOut, held_out
from pandagpt.training.renderings import GROUPS, draw_pictures, word_target
from pandagpt.training.world.things import THINGS, with_article

PROTOTYPE_PICTURES = 2000
PROTOTYPE_SEED = 2
SENSES = (Modality.DEPTH, Modality.THERMAL, Modality.VIDEO, Modality.AUDIO, Modality.IMU)


@dataclass(frozen=True, slots=True)
class Measured:
    """Held-out files of one kind, and their embeddings [N, E]."""

    files: list[HeldOut]
    embedding: Tensor

    @property
    def first_things(self) -> Tensor:
        return torch.tensor([THINGS.index(file.scene.names[0]) for file in self.files])


def measure(
    model: ImageBind, reader: WordReader, texts: TextTokenizer, count: int = 400
) -> dict[str, float]:
    """All figures of gate G1, as shares of right answers."""
    prototypes_TE = thing_prototypes(model)
    images = embed_files(model, Modality.IMAGE, count)
    figures = {"image.thing": naming(images, prototypes_TE)}
    figures |= attributes("image", images, reader, ("colour", "size", "position"))
    names = [f"a picture of {with_article('', thing)}" for thing in THINGS]
    with torch.no_grad():
        figures["image.thing by text"] = naming(images, embed_texts(model, names, texts, CPU))
    for sense in SENSES:
        num_files = count // 2 if sense is Modality.VIDEO else count
        sensed = embed_files(model, sense, num_files)
        figures[f"{sense}.thing"] = naming(sensed, prototypes_TE)
        if sense in (Modality.DEPTH, Modality.THERMAL):
            figures |= attributes(sense, sensed, reader, ("size", "position"))
        figures[f"image+{sense}.both"] = naming_sums(images, sensed, prototypes_TE)
    for sense in (Modality.IMAGE, Modality.AUDIO):
        pairs = embed_files(model, sense, count // 2, pairs=True)
        figures[f"{sense} of two.both"] = naming_pairs(pairs, prototypes_TE)
    return figures


CPU = torch.device("cpu")


@torch.no_grad()
def thing_prototypes(model: ImageBind) -> Tensor:
    """[T, E] unit vectors."""
    pictures = draw_pictures(PROTOTYPE_PICTURES, 0.0, PROTOTYPE_SEED)
    embedding_NE = embed_frames(model, pictures.pixels, CPU)
    things = torch.from_numpy(pictures.words[:, GROUPS["thing"].columns])
    return F.normalize(things.T @ embedding_NE, dim=1)


@torch.no_grad()
def embed_files(
    model: ImageBind, modality: Modality, count: int, *, pairs: bool = False
) -> Measured:
    files = list(held_out(modality, count, pairs=pairs, seed=list(Modality).index(modality)))
    rows = [embed_file(model, modality, file.data) for file in files]
    return Measured(files, torch.stack(rows))


@torch.no_grad()
def embed_file(model: ImageBind, modality: Modality, data: bytes) -> Tensor:
    """[E], the way a server does it."""
    array = load(modality, data, MediaOptions(), MediaLimits())
    return model.encode(modality, torch.tensor(array[None]))[0]


def naming(items: Measured, names_TE: Tensor) -> float:
    """The nearest of twenty is the right one."""
    nearest = (items.embedding @ names_TE.T).argmax(1)
    return _share(nearest == items.first_things)


def attributes(
    title: str, items: Measured, reader: WordReader, groups: Sequence[str]
) -> dict[str, float]:
    with torch.no_grad():
        logits = reader(items.embedding)
    truth = torch.from_numpy(np.stack([word_target(f.scene) for f in items.files]))
    return {
        f"{title}.{name}": _share(
            logits[:, GROUPS[name].columns].argmax(1) == truth[:, GROUPS[name].columns].argmax(1)
        )
        for name in groups
    }


def naming_sums(images: Measured, others: Measured, names_TE: Tensor) -> float:
    """The two nearest to the sum of an image and another medium are exactly their things."""
    count = min(len(images.files), len(others.files))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    first, second = images.first_things[:count], others.first_things[:count][order]
    sums_NE = images.embedding[:count] + others.embedding[:count][order]
    return _both(
        sums_NE, torch.stack([first, second], 1)[first != second], names_TE, first != second
    )


def naming_pairs(items: Measured, names_TE: Tensor) -> float:
    truth = torch.tensor(
        [[THINGS.index(name) for name in file.scene.names] for file in items.files]
    )
    return _both(items.embedding, truth, names_TE, torch.ones(len(truth), dtype=torch.bool))


def _both(embedding_NE: Tensor, truth_N2: Tensor, names_TE: Tensor, kept: Tensor) -> float:
    nearest = (embedding_NE[kept] @ names_TE.T).topk(2).indices
    return _share((nearest.sort(1).values == truth_N2.sort(1).values).all(1))


def _share(right: Tensor) -> float:
    return right.float().mean().item()
