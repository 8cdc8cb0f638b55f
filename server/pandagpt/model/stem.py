"""Stems: one input tensor in, a sequence of tokens out.

A stem knows its input's geometry (`InputShape`) and its config; class tokens, positions and
the transformer come later. `pool` then `forward`: training stores inputs already pooled.
Axes: B items, C channels, T frames, L tokens, D width; spatial axes are written as `...`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pandagpt.model.config import ConvLayer, EncoderConfig

STEM_NORM_EPS = 1e-5


@dataclass(frozen=True, slots=True)
class InputShape:
    """What one item looks like, and how the published patch projection cuts it."""

    channels: int
    size: tuple[int, ...]
    patch: int
    stride: int
    frames: int = 1


class FrameConv(nn.Conv3d):
    """A convolution over exactly `frames` frames; a still image counts as all of them.

    Time is folded into the channels, and the kernel summed over it for a still image: the
    same numbers as a 3-D convolution (over a repeated frame) for a fraction of the work.
    """

    def forward(self, input: Tensor) -> Tensor:
        """B,C,T,H,W or B,C,H,W -> B,D,h,w"""
        weight = self.weight.sum(2) if input.ndim == 4 else self.weight.flatten(1, 2)
        frames_BCHW = input if input.ndim == 4 else input.flatten(1, 2)
        return F.conv2d(frames_BCHW, weight, self.bias, self.stride[1:], self.padding[1:])


class PatchStem(nn.Module):
    """ImageBind's own: one linear projection of each patch, no bias."""

    def __init__(self, shape: InputShape, width: int, has_norm: bool) -> None:
        super().__init__()
        self.grid = tuple((n - shape.patch) // shape.stride + 1 for n in shape.size)
        if shape.frames > 1:
            # Index 0 pads a still image in time upstream; FrameConv needs no copy of the frame.
            self.proj = nn.Sequential(nn.Identity(), _frame_conv(shape, width))
        else:
            self.proj = nn.Conv2d(shape.channels, width, shape.patch, shape.stride, bias=False)
        self.norm_layer = nn.LayerNorm(width, eps=STEM_NORM_EPS) if has_norm else nn.Identity()

    def pool(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.norm_layer(self.proj(x).flatten(2).transpose(1, 2))


def _frame_conv(shape: InputShape, width: int) -> FrameConv:
    kernel = (shape.frames, shape.patch, shape.patch)
    return FrameConv(shape.channels, width, kernel, kernel, bias=False)


class WindowStem(nn.Module):
    """The IMU's: windows of `patch` steps, flattened channel by channel, and a linear layer."""

    def __init__(self, shape: InputShape, width: int) -> None:
        super().__init__()
        self.patch = shape.patch
        self.grid = (shape.size[0] // shape.patch,)
        self.proj = nn.Linear(shape.channels * shape.patch, width, bias=False)
        self.norm_layer = nn.LayerNorm(width, eps=STEM_NORM_EPS)

    def pool(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x_BCS: Tensor) -> Tensor:
        windows_BCLP = x_BCS.unfold(-1, self.patch, self.patch)
        return self.norm_layer(self.proj(windows_BCLP.transpose(1, 2).flatten(2)))


class ConvStem(nn.Module):
    """Average pooling, optional standardising, convolutions with GELU, a 1x1 projection."""

    def __init__(self, shape: InputShape, config: EncoderConfig, has_norm: bool) -> None:
        super().__init__()
        self.pool_size = config.stem.pool
        self.standardize = config.stem.standardize
        pooled = tuple(n // self.pool_size for n in shape.size)
        self.grid = conv_grid(pooled, config.stem.layers)
        self.layers = nn.ModuleList(_convolutions(shape, config.stem.layers))
        self.proj = nn.Linear(config.stem.layers[-1].channels, config.width)
        self.norm_layer = (
            nn.LayerNorm(config.width, eps=STEM_NORM_EPS) if has_norm else nn.Identity()
        )

    def pool(self, x: Tensor) -> Tensor:
        """Averages `pool_size` pixels a side (or steps); every leading axis is kept."""
        if self.pool_size == 1:
            return x
        num_spatial = len(self.grid)
        flat = x.flatten(1, -num_spatial - 1)
        pooled = (F.avg_pool1d if num_spatial == 1 else F.avg_pool2d)(flat, self.pool_size)
        return pooled.unflatten(1, x.shape[1:-num_spatial])

    def forward(self, pooled: Tensor) -> Tensor:
        """Pooled input -> B,L,D. One group: mean and variance over everything in an item."""
        x = F.group_norm(pooled, 1) if self.standardize else pooled
        for layer in self.layers:
            x = F.gelu(layer(x))
        return self.norm_layer(self.proj(x.flatten(2).transpose(1, 2)))


def _convolutions(shape: InputShape, layers: Sequence[ConvLayer]) -> list[nn.Module]:
    channels = [shape.channels, *(layer.channels for layer in layers)]
    convolution = nn.Conv1d if len(shape.size) == 1 else nn.Conv2d
    modules: list[nn.Module] = [
        convolution(before, layer.channels, layer.kernel, layer.stride, layer.padding)
        for before, layer in zip(channels[:-1], layers, strict=True)
    ]
    if shape.frames > 1:
        kernel, stride, padding = (
            (a, b, b)
            for a, b in zip((shape.frames, shape.frames, 0), _sides(layers[0]), strict=True)
        )
        modules[0] = FrameConv(shape.channels, layers[0].channels, kernel, stride, padding)
    return modules


def _sides(layer: ConvLayer) -> tuple[int, int, int]:
    return layer.kernel, layer.stride, layer.padding


def conv_grid(size: tuple[int, ...], layers: Sequence[ConvLayer]) -> tuple[int, ...]:
    """The spatial size that the convolutions leave of `size`."""
    for layer in layers:
        size = tuple((n + 2 * layer.padding - layer.kernel) // layer.stride + 1 for n in size)
    return size


def build_stem(shape: InputShape, config: EncoderConfig, has_norm: bool) -> nn.Module:
    if config.stem.kind == "conv":
        return ConvStem(shape, config, has_norm)
    if len(shape.size) == 1:
        return WindowStem(shape, config.width)
    return PatchStem(shape, config.width, has_norm)


def num_tokens(grid: Sequence[int]) -> int:
    return math.prod(grid)


def resize_positions(positions_1LD: Tensor, count: int) -> Tensor:
    """Position embeddings of a square grid (without class token), for `count` patches.

    Bicubic, and by the scale factor itself: letting the resampler derive it from the sizes
    would change the numbers. Computed in fp32 because bf16 has no bicubic kernel.
    """
    side = math.isqrt(positions_1LD.shape[1])
    grid_1DHW = positions_1LD.transpose(1, 2).unflatten(2, (side, side))
    work = grid_1DHW.float() if grid_1DHW.dtype == torch.bfloat16 else grid_1DHW
    scale = math.sqrt(count / positions_1LD.shape[1])
    resized = F.interpolate(work, scale_factor=(scale, scale), mode="bicubic")
    return resized.to(positions_1LD.dtype).flatten(2).transpose(1, 2)
