"""ImageBind: six encoders into one space, under the published checkpoint's key names.

Preprocessed tensors in (`media.load`'s shapes with a batch axis in front), embeddings out.
Each encoder is preprocessor (tokens) -> trunk (transformer) -> head -> postprocessor.
Knows no files and no requests. Axes: B items, S clips, L tokens, D width, E embedding.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pandagpt.errors import InvalidValue
from pandagpt.media.modality import Modality
from pandagpt.model.config import EncoderConfig, ImageBindConfig
from pandagpt.model.stem import InputShape, build_stem, num_tokens, resize_positions
from pandagpt.model.transformer import NORM_EPS, Transformer

ENCODERS = ("vision", "text", "audio", "depth", "thermal", "imu")
MAX_LOGIT_SCALE = 100.0


@dataclass(frozen=True, slots=True)
class EncoderFacts:
    """What a modality's encoder is made of in the checkpoint (model facts, 1.1 and 1.2)."""

    stem_name: str
    input: InputShape
    stem_norm: bool = True
    norm_first: bool = False
    extra_token: bool = True
    logit_scale: float = 1.0
    head_linear_index: int = 2


FACTS = {
    "vision": EncoderFacts(
        "rgbt_stem",
        InputShape(3, (224, 224), 14, 14, frames=2),
        stem_norm=False,
        norm_first=True,
        extra_token=False,
    ),
    "audio": EncoderFacts("rgbt_stem", InputShape(1, (128, 204), 16, 10), logit_scale=20.0),
    "depth": EncoderFacts("depth_stem", InputShape(1, (224, 224), 16, 16), logit_scale=5.0),
    "thermal": EncoderFacts("rgbt_stem", InputShape(1, (224, 224), 16, 16), logit_scale=10.0),
    # Upstream's IMU head has a dropout before its linear layer, which shifts the index.
    "imu": EncoderFacts(
        "imu_stem", InputShape(6, (2000,), 8, 8), logit_scale=5.0, head_linear_index=3
    ),
}
TEXT_LOGIT_SCALE = 1 / 0.07


class Stem(Protocol):
    grid: tuple[int, ...]

    def pool(self, x: Tensor) -> Tensor: ...
    def __call__(self, pooled: Tensor) -> Tensor: ...


class Positions(nn.Module):
    """Holds `pos_embed` one level down, where the image-like encoders' checkpoint keys are."""

    def __init__(self, num_tokens: int, width: int) -> None:
        super().__init__()
        self.pos_embed = _small_normal(1, num_tokens, width)


class SensorPreprocessor(nn.Module):
    """Everything but text: stem, class token in front, learned positions added."""

    def __init__(self, name: str, config: EncoderConfig) -> None:
        super().__init__()
        facts = FACTS[name]
        self.name = name
        self.stem_name = facts.stem_name
        self.num_spatial = len(facts.input.size)
        self.cls_token = _small_normal(1, 1, config.width)
        self.add_module(self.stem_name, build_stem(facts.input, config, facts.stem_norm))
        positions = Positions(num_tokens(self.stem.grid) + 1, config.width)
        if name == "imu":
            self.pos_embed = positions.pos_embed
        else:
            self.pos_embedding_helper = positions

    @property
    def stem(self) -> Stem:
        return cast(Stem, self.get_submodule(self.stem_name))

    def forward(self, pooled: Tensor) -> Tensor:
        tokens_BLD = self.stem(pooled)
        tokens_BLD = torch.cat([self.cls_token.expand(len(tokens_BLD), -1, -1), tokens_BLD], dim=1)
        return tokens_BLD + self._positions(tokens_BLD.shape[1] - 1, pooled)

    def _positions(self, num_patches: int, pooled: Tensor) -> Tensor:
        helper = self if self.name == "imu" else self.pos_embedding_helper
        positions_1LD = helper.pos_embed
        if num_patches == positions_1LD.shape[1] - 1:
            return positions_1LD
        if self.name != "vision" or pooled.shape[-1] != pooled.shape[-2]:
            raise InvalidValue(
                f"{self.name} input of size {tuple(pooled.shape[-self.num_spatial :])} is not "
                f"{FACTS[self.name].input.size}: only square images can have another size"
            )
        patches_1LD = resize_positions(positions_1LD[:, 1:], num_patches)
        return torch.cat([positions_1LD[:, :1], patches_1LD], dim=1)


class TextPreprocessor(nn.Module):
    def __init__(self, config: ImageBindConfig) -> None:
        super().__init__()
        width, length = config.text.width, config.text_context_length
        # Embedding's own normal_() takes two seconds of imports on the meta device.
        vocab_size = config.text_vocab_size
        weight = _small_normal(vocab_size, width)
        self.token_embedding = nn.Embedding(vocab_size, width, _weight=weight)
        self.pos_embed = _small_normal(1, length, width)
        self.mask: Tensor
        self.register_buffer("mask", _causal_mask(length))

    def forward(self, ids_BL: Tensor) -> Tensor:
        return self.token_embedding(ids_BL) + self.pos_embed[:, : ids_BL.shape[1]]


class TextHead(nn.Module):
    def __init__(self, width: int, embed_dim: int) -> None:
        super().__init__()
        norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.proj = nn.Sequential(norm, nn.Linear(width, embed_dim, bias=False))

    def forward(self, x_BD: Tensor) -> Tensor:
        return self.proj(x_BD)


class Normalize(nn.Module):
    def forward(self, x_BE: Tensor) -> Tensor:
        return F.normalize(x_BE, dim=-1)


class LogitScale(nn.Module):
    """Multiplies by exp of the checkpoint's value, at most 100. Learned for text only."""

    def __init__(self, scale: float, learned: bool = False, enabled: bool = True) -> None:
        super().__init__()
        self.enabled = enabled
        self.log_logit_scale: Tensor
        value = torch.tensor(math.log(scale))
        if learned:
            self.log_logit_scale = nn.Parameter(value)
        else:
            self.register_buffer("log_logit_scale", value)

    def forward(self, x_BE: Tensor) -> Tensor:
        if not self.enabled:
            return x_BE
        return x_BE * self.log_logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)


class ImageBind(nn.Module):
    def __init__(self, config: ImageBindConfig) -> None:
        super().__init__()
        self.config = config
        self.modality_preprocessors = _per_encoder(lambda name: _preprocessor(name, config))
        self.modality_trunks = _per_encoder(lambda name: _trunk(name, _encoder(name, config)))
        self.modality_heads = _per_encoder(lambda name: _head(name, config))
        self.modality_postprocessors = _per_encoder(lambda name: _postprocessor(name, config))

    def encode(self, modality: Modality, inputs: Tensor, *, pooled: bool = False) -> Tensor:
        """-> [B, E]: normalised and scaled; of several clips, the mean of their embeddings.

        Five or more axes mean that axis 1 counts clips. `pooled`: the stem's average pooling
        has been done already (`pool`), as training does to keep its pictures small.
        """
        name = modality.encoder
        has_clips = inputs.ndim >= 5
        items = inputs.flatten(0, 1) if has_clips else inputs
        features_BD = self.features(modality, items, pooled=pooled)
        embedding_BE = self.modality_postprocessors[name](self.modality_heads[name](features_BD))
        if not has_clips:
            return embedding_BE
        return embedding_BE.unflatten(0, inputs.shape[:2]).mean(dim=1)

    def pool(self, modality: Modality, items: Tensor) -> Tensor:
        """The stem's average pooling alone; text and patch stems have none."""
        if modality is Modality.TEXT:
            return items
        return self._sensor(modality.encoder).stem.pool(items)

    def features(self, modality: Modality, items: Tensor, *, pooled: bool = False) -> Tensor:
        """-> [B, D]: the trunk's output at the pooled token, one clip an item."""
        if modality is Modality.TEXT:
            return self._text_features(items)
        name = modality.encoder
        tokens_BLD = self._sensor(name)(items if pooled else self.pool(modality, items))
        return self.modality_trunks[name](tokens_BLD)[:, 0]

    def _text_features(self, ids_BL: Tensor) -> Tensor:
        preprocessor = cast(TextPreprocessor, self.modality_preprocessors["text"])
        last_B = ids_BL.argmax(dim=1)  # the end of the text: the largest id, its first place
        # Attention is causal: what follows the last pooled token cannot reach it.
        length = int(last_B.max()) + 1
        tokens_BLD = preprocessor(ids_BL[:, :length])
        x_BLD = self.modality_trunks["text"](tokens_BLD, preprocessor.mask[:length, :length])
        return x_BLD[torch.arange(len(ids_BL), device=ids_BL.device), last_B]

    def _sensor(self, name: str) -> SensorPreprocessor:
        return cast(SensorPreprocessor, self.modality_preprocessors[name])


def _per_encoder(build: Callable[[str], nn.Module]) -> nn.ModuleDict:
    return nn.ModuleDict({name: build(name) for name in ENCODERS})


def _encoder(name: str, config: ImageBindConfig) -> EncoderConfig:
    return getattr(config, name)


def _preprocessor(name: str, config: ImageBindConfig) -> nn.Module:
    if name == "text":
        return TextPreprocessor(config)
    return SensorPreprocessor(name, _encoder(name, config))


def _trunk(name: str, encoder: EncoderConfig) -> Transformer:
    facts = FACTS.get(name)
    return Transformer(
        encoder.width,
        encoder.num_blocks,
        encoder.num_heads,
        norm_first=facts is not None and facts.norm_first,
        extra_token=facts is not None and facts.extra_token,
    )


def _head(name: str, config: ImageBindConfig) -> nn.Module:
    """LayerNorm and a linear layer, whose index upstream's token picking (and dropout) shifts."""
    width = _encoder(name, config).width
    if name == "text":
        return TextHead(width, config.embed_dim)
    gap = [nn.Identity() for _ in range(FACTS[name].head_linear_index - 1)]
    norm = nn.LayerNorm(width, eps=NORM_EPS)
    return nn.Sequential(norm, *gap, nn.Linear(width, config.embed_dim, bias=False))


def _postprocessor(name: str, config: ImageBindConfig) -> nn.Sequential:
    if name == "text":
        return nn.Sequential(Normalize(), LogitScale(TEXT_LOGIT_SCALE, learned=True))
    if name == "vision":
        return nn.Sequential(Normalize())
    enabled = name != "audio" or config.scale_audio
    return nn.Sequential(Normalize(), LogitScale(FACTS[name].logit_scale, enabled=enabled))


def _causal_mask(length: int) -> Tensor:
    """-inf above the diagonal. On the CPU in any case: on meta, triu() is as slow as normal_()."""
    return torch.full((length, length), -math.inf, device="cpu").triu(1)


def _small_normal(*shape: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(shape), std=0.02))
