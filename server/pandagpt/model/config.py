"""The shapes of a model: what a bundle's `manifest.json` says of its parts.

Plain frozen dataclasses, read from and written to JSON by field name. No weights, no torch.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self


@dataclass(frozen=True, slots=True)
class ConvLayer:
    """One strided convolution of a convolutional stem (kernel, stride, padding in pixels)."""

    channels: int
    kernel: int
    stride: int
    padding: int


@dataclass(frozen=True, slots=True)
class StemConfig:
    """How an input becomes tokens.

    `patch` is ImageBind's own: one linear patch projection. `conv` averages `pool` x `pool`
    pixels, standardises each input if `standardize`, then runs `layers` with GELU between
    them and a final 1x1 projection to the encoder's width; small models learn faster with it.
    """

    kind: Literal["patch", "conv"] = "patch"
    pool: int = 1
    standardize: bool = False
    layers: tuple[ConvLayer, ...] = ()


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    width: int
    num_blocks: int
    num_heads: int
    stem: StemConfig = field(default_factory=StemConfig)


@dataclass(frozen=True, slots=True)
class ImageBindConfig:
    """ImageBind's six encoders. Defaults are the huge model's (model facts, section 1.1)."""

    vision: EncoderConfig = EncoderConfig(1280, 32, 16)
    text: EncoderConfig = EncoderConfig(1024, 24, 16)
    audio: EncoderConfig = EncoderConfig(768, 12, 12)
    depth: EncoderConfig = EncoderConfig(384, 12, 8)
    thermal: EncoderConfig = EncoderConfig(768, 12, 12)
    imu: EncoderConfig = EncoderConfig(512, 6, 8)
    embed_dim: int = 1024
    text_vocab_size: int = 49408
    text_context_length: int = 77
    # ImageBind scales audio embeddings by 20; the copy PandaGPT was trained beside does not.
    scale_audio: bool = True

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        known = {f.name for f in fields(cls)}
        if unknown := set(data) - known:
            raise ValueError(f"unknown ImageBind fields: {sorted(unknown)}")
        values: dict[str, Any] = {
            name: _encoder(value) if isinstance(value, Mapping) else value
            for name, value in data.items()
        }
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _encoder(data: Mapping[str, Any]) -> EncoderConfig:
    stem = dict(data.get("stem", {}))
    layers = tuple(ConvLayer(**layer) for layer in stem.pop("layers", ()))
    return EncoderConfig(
        data["width"], data["num_blocks"], data["num_heads"], StemConfig(**stem, layers=layers)
    )


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """The fields of a Hugging Face LLaMA `config.json` that change the arithmetic."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    vocab_size: int
    num_key_value_heads: int
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    tie_word_embeddings: bool = False
    bos_token_id: int = 1
    eos_token_id: int = 2

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def kv_values_per_token(self) -> int:
        """Of all layers, keys and values."""
        return 2 * self.num_hidden_layers * self.num_key_value_heads * self.head_dim

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Reads Hugging Face's JSON; fields that do not matter here are left aside."""
        known = {f.name for f in fields(cls)} & set(data)
        values = {name: data[name] for name in known if data[name] is not None}
        values.setdefault("num_key_value_heads", data["num_attention_heads"])
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **asdict(self)}


PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The matrices of a LLaMA's layer."""


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """LoRA on the attention projections (reference: r 32, alpha 32), or on any of a layer."""

    r: int = 32
    alpha: int = 32
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")

    def __post_init__(self) -> None:
        if self.r < 1:
            raise ValueError(f"LoRA's rank is {self.r}")
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"LoRA's alpha is {self.alpha}")
        if strange := set(self.targets) - set(PROJECTIONS):
            raise ValueError(f"LoRA's targets hold {min(strange)!r}, none of a layer's matrices")

    @property
    def scale(self) -> float:
        return self.alpha / self.r
