"""Stage A: the image and text encoders, from pictures and captions alone.

Contrast between pictures and captions, and the captions' words read linearly off the final
embedding: of one picture, and of the sum of two, so that sums name both things.
Axes: N pictures, E embedding, W words.
"""

from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pandagpt.media.image import MEAN_RGB, STD_RGB
from pandagpt.media.modality import Modality
from pandagpt.media.text import TextTokenizer
from pandagpt.model.imagebind import ImageBind
from pandagpt.training.captions import Caption, caption
from pandagpt.training.fit import Plan, Report, contrastive_loss, fit, share_loss
from pandagpt.training.renderings import COLUMNS, GROUPS, Pictures

# A unit vector of 128 numbers has small entries; the reader sees them near 1.
READER_GAIN = 16.0
CONTRAST_WEIGHT = 0.5
SUM_WEIGHT = 0.5
MOVING_SHARE = 0.3
MOVE_PIXELS = 8
SHAKE_PIXELS = 1
# The three crops of a wide film see its middle off their own.
STRAY_SHARE = 0.15
STRAY_PIXELS = 10
BRIGHTNESS = 0.075
GRAIN = 0.03


class WordReader(nn.Module):
    """Reads a caption's words off an embedding: one linear layer, one softmax a group."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(embed_dim, len(COLUMNS))

    def forward(self, embedding_NE: Tensor) -> Tensor:
        return self.linear(READER_GAIN * embedding_NE)

    def loss(self, embedding_NE: Tensor, words_NW: Tensor, *, linked: bool = True) -> Tensor:
        logits_NW = self(embedding_NE)
        groups = [group for group in GROUPS.values() if linked or not group.linked]
        losses = [
            g.weight * share_loss(logits_NW[:, g.columns], words_NW[:, g.columns]) for g in groups
        ]
        return torch.stack(losses).sum()

    def sum_loss(self, embedding_NE: Tensor, words_NW: Tensor) -> Tensor:
        """The words of both pictures, read off the sum of two pictures of one thing each."""
        things_N = words_NW[:, GROUPS["thing"].columns].sum(1)
        single = (things_N == 1).nonzero().squeeze(1)
        other = single[torch.randperm(len(single), device=single.device)]
        both_NE = F.normalize(embedding_NE[single] + embedding_NE[other], dim=1)
        return self.loss(both_NE, torch.maximum(words_NW[single], words_NW[other]), linked=False)


def align_pictures(
    model: ImageBind,
    reader: WordReader,
    pictures: Pictures,
    tokenizer: TextTokenizer,
    plan: Plan,
    report: Report,
) -> None:
    """Trains the vision and text encoders of `model`, and `reader`."""
    device = next(reader.parameters()).device
    rng, caption_rng = np.random.default_rng(0), Random(0)
    log_sharpness = nn.Parameter(torch.tensor(2.3, device=device))

    def next_loss() -> Tensor:
        chosen = rng.choice(len(pictures.stages), plan.batch_size, replace=False)
        captions = [caption(pictures.stages[k], caption_rng) for k in chosen]
        frames, strayed = film(pictures.pixels[chosen], rng)
        words_NW = torch.from_numpy(without_places(pictures.words[chosen], strayed)).to(device)
        image_NE = embed_frames(model, frames, device, grain=True)
        text_NE = embed_texts(model, [c.text for c in captions], tokenizer, device)
        similarity_NN = text_NE @ image_NE.T * log_sharpness.exp()
        contrast = contrastive_loss(similarity_NN, fitting(captions, words_NW))
        word_loss = reader.loss(image_NE, words_NW)
        sum_loss = reader.sum_loss(image_NE, words_NW)
        return word_loss + SUM_WEIGHT * sum_loss + CONTRAST_WEIGHT * contrast

    trained = [*encoder_parameters(model, "vision"), *encoder_parameters(model, "text")]
    fit([*trained, *reader.parameters(), log_sharpness], plan, next_loss, report)


def encoder_parameters(model: ImageBind, name: str) -> list[nn.Parameter]:
    """All that is trained of one encoder: not its logit scale."""
    parts = (model.modality_preprocessors, model.modality_trunks, model.modality_heads)
    return [parameter for part in parts for parameter in part[name].parameters()]


def fitting(captions: list[Caption], words_NW: Tensor) -> Tensor:
    """[captions, pictures]: whether the picture has all that the caption says."""
    said = torch.zeros(len(captions), len(COLUMNS), device=words_NW.device)
    for row, one in zip(said, captions, strict=True):
        row[[COLUMNS[word] for word in sorted(one.words)]] = 1
    return said @ words_NW.T == said.sum(1, keepdim=True)


def embed_texts(
    model: ImageBind, texts: list[str], tokenizer: TextTokenizer, device: torch.device
) -> Tensor:
    ids = np.stack([tokenizer.encode(text) for text in texts])
    return model.encode(Modality.TEXT, torch.from_numpy(ids).to(device))


def embed_frames(
    model: ImageBind, frames: np.ndarray, device: torch.device, *, grain: bool = False
) -> Tensor:
    """[N,3,2,56,56] bytes of films, or [N,3,56,56] of still pictures -> [N, E]."""
    pixels = torch.from_numpy(frames).to(device).float() / 255
    if grain:
        ones = (-1,) + (1,) * (pixels.ndim - 1)
        light = 1 + BRIGHTNESS * (2 * torch.rand(len(pixels), device=device) - 1).view(ones)
        pixels = pixels * light + GRAIN * torch.randn_like(pixels)
    channels = (3,) + (1,) * (pixels.ndim - 2)
    mean, std = (torch.from_numpy(x).to(device).view(channels) for x in (MEAN_RGB, STD_RGB))
    standard = (pixels - mean) / std
    if pixels.ndim == 4:
        return model.encode(Modality.IMAGE, standard, pooled=True)
    return model.encode(Modality.VIDEO, standard[:, None], pooled=True)


def film(pixels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """[N,3,H,W] -> [N,3,2,H,W]: two equal frames, or two between which the picture travels.

    The journey's middle is the picture itself, so that positions stay true, but for the
    pictures that stray as a whole: [N] tells which.
    """
    count, _, side, _ = pixels.shape
    margin = MOVE_PIXELS + SHAKE_PIXELS + STRAY_PIXELS
    padded = np.pad(pixels, ((0, 0), (0, 0), (margin, margin), (margin, margin)), mode="edge")
    half_journey = _shifts(rng, MOVE_PIXELS, count) * (rng.random((count, 1)) < MOVING_SHARE)
    strayed = rng.random(count) < STRAY_SHARE
    centre = margin + _shifts(rng, SHAKE_PIXELS, count)
    centre += _shifts(rng, STRAY_PIXELS, count) * strayed[:, None]
    frames = np.empty((count, 3, 2, side, side), np.uint8)
    for frame, corners in enumerate((centre - half_journey, centre + half_journey)):
        for k, (top, left) in enumerate(corners):
            frames[k, :, frame] = padded[k, :, top : top + side, left : left + side]
    return frames, strayed


def without_places(words: np.ndarray, strayed: np.ndarray) -> np.ndarray:
    """The word targets, without any position where a picture has strayed."""
    words = words.copy()
    for name in ("position", "position of thing"):
        words[strayed, GROUPS[name].columns] = 0
    return words


def _shifts(rng: np.random.Generator, reach: int, count: int) -> np.ndarray:
    return rng.integers(-reach, reach + 1, (count, 2))
