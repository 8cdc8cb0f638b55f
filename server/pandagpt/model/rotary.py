"""Rotary position embedding: the table of cosines and sines that every decoder reads."""

import torch
from torch import Tensor

from pandagpt.model.config import LlamaConfig


def rotary_table(config: LlamaConfig) -> Tensor:
    """Cosines and signed sines [positions, 2, D] (RoFormer, section 3.4.2; halves, not pairs)."""
    half = config.head_dim // 2
    frequencies = config.rope_theta ** -(torch.arange(half).float() / half)
    angles = torch.arange(config.max_position_embeddings).float()[:, None] * frequencies
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([torch.cat([cos, cos], dim=1), torch.cat([-sin, sin], dim=1)], dim=1)
