"""Stage B: every other sense, taught only by the images of what it senses.

The image embeddings are frozen. A depth map or thermal picture is drawn to its own scene's
image; a sound or a motion to images of the same things. Axes: N items, E embedding.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pandagpt.media.modality import Modality
from pandagpt.model.imagebind import ImageBind
from pandagpt.training.align_pictures import encoder_parameters
from pandagpt.training.fit import Plan, Report, contrastive_loss, fit

SHARPNESS = 14.0
COSINE_WEIGHT = 4.0
SEED = 0


@dataclass(frozen=True, slots=True)
class Lesson:
    """`partners`: for each input, the rows of image embeddings it may be paired with.

    `keys`: inputs of equal key are alike as far as this sense can tell; none of them is
    another's wrong answer. Each input gets noise of any strength up to `noise`: always the
    same would be needed again when serving, since stems standardise.
    """

    modality: Modality
    inputs: np.ndarray
    partners: Sequence[np.ndarray]
    keys: Sequence[Hashable]
    noise: float


def align_sense(
    model: ImageBind, lesson: Lesson, images_ME: Tensor, plan: Plan, report: Report
) -> None:
    device = images_ME.device
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    numbers = {key: number for number, key in enumerate(dict.fromkeys(lesson.keys))}
    keys = torch.tensor([numbers[key] for key in lesson.keys], device=device)

    def next_loss() -> Tensor:
        chosen = rng.choice(len(lesson.inputs), plan.batch_size, replace=False)
        inputs = torch.from_numpy(lesson.inputs[chosen]).to(device)
        sensed_NE = model.encode(lesson.modality, _noisy(inputs, lesson.noise), pooled=True)
        image_NE = images_ME[[rng.choice(lesson.partners[k]) for k in chosen]]
        alike_NN = keys[chosen][:, None] == keys[chosen][None]
        contrast = contrastive_loss(SHARPNESS * sensed_NE @ image_NE.T, alike_NN)
        distance = 1 - F.cosine_similarity(sensed_NE, image_NE).mean()
        return contrast + COSINE_WEIGHT * distance

    fit(encoder_parameters(model, lesson.modality.encoder), plan, next_loss, report)


def _noisy(inputs: Tensor, noise: float) -> Tensor:
    strength = noise * torch.rand((len(inputs), *(1,) * (inputs.ndim - 1)), device=inputs.device)
    return inputs + strength * torch.randn_like(inputs)


@torch.no_grad()
def start_from_vision(model: ImageBind, name: str) -> None:
    """Gives a one-channel camera's encoder the image encoder's weights.

    The first convolution is summed over colours and frames. The camera has no LayerNorm
    before its blocks but one behind its stem: it takes over the weights.
    """
    for part in (model.modality_preprocessors, model.modality_trunks, model.modality_heads):
        given = dict(part["vision"].named_parameters())
        for key, parameter in part[name].named_parameters():
            source = given.get(_key_in_vision(key))
            if source is not None:
                parameter.copy_(_as_grey(source) if source.shape != parameter.shape else source)
    _copy_norm(model.modality_trunks["vision"], model.modality_preprocessors[name])


def _key_in_vision(key: str) -> str:
    return key.replace("depth_stem", "rgbt_stem")


def _as_grey(weight: Tensor) -> Tensor:
    """[D,3,2,k,k] -> [D,1,k,k]"""
    return weight.sum(2).sum(1, keepdim=True)


def _copy_norm(trunk: nn.Module, preprocessor: nn.Module) -> None:
    source = dict(trunk.named_parameters())
    for key, parameter in preprocessor.named_parameters():
        if "norm_layer" in key:
            parameter.copy_(source[f"pre_transformer_layer.0.{key.rsplit('.', 1)[-1]}"])
