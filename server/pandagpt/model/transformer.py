"""ImageBind's transformer: tokens in, tokens out, under the published checkpoint's key names.

Pre-norm blocks with exact GELU and packed query-key-value projections (model facts, 1.2).
Knows nothing of modalities. Axes: B items, L tokens, D width, H heads, K head dim.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORM_EPS = 1e-6
MLP_RATIO = 4


class Attention(nn.Module):
    """Multi-head attention; with `extra_token`, one learned key and value end the sequence."""

    def __init__(self, width: int, num_heads: int, extra_token: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.bias_k = nn.Parameter(torch.empty(1, 1, width)) if extra_token else None
        self.bias_v = nn.Parameter(torch.empty(1, 1, width)) if extra_token else None
        nn.init.xavier_uniform_(self.in_proj_weight)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                nn.init.trunc_normal_(bias, std=0.02)

    def forward(self, x_BLD: Tensor, mask_LL: Tensor | None = None) -> Tensor:
        q, k, v = F.linear(x_BLD, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        if self.bias_k is not None and self.bias_v is not None:
            k = torch.cat([k, self.bias_k.expand(len(k), -1, -1)], dim=1)
            v = torch.cat([v, self.bias_v.expand(len(v), -1, -1)], dim=1)
        out_BHLK = F.scaled_dot_product_attention(
            self._heads(q), self._heads(k), self._heads(v), attn_mask=mask_LL
        )
        return self.out_proj(out_BHLK.transpose(1, 2).flatten(2))

    def _heads(self, x_BLD: Tensor) -> Tensor:
        return x_BLD.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, MLP_RATIO * width)
        self.fc2 = nn.Linear(MLP_RATIO * width, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x_BLD)))


class Block(nn.Module):
    def __init__(self, width: int, num_heads: int, extra_token: bool) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.attn = Attention(width, num_heads, extra_token)
        self.norm_2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = Mlp(width)

    def forward(self, x_BLD: Tensor, mask_LL: Tensor | None = None) -> Tensor:
        x_BLD = x_BLD + self.attn(self.norm_1(x_BLD), mask_LL)
        return x_BLD + self.mlp(self.norm_2(x_BLD))


class Transformer(nn.Module):
    def __init__(
        self, width: int, num_blocks: int, num_heads: int, *, norm_first: bool, extra_token: bool
    ) -> None:
        super().__init__()
        first = nn.LayerNorm(width, eps=NORM_EPS) if norm_first else nn.Identity()
        self.pre_transformer_layer = nn.Sequential(first)
        self.blocks = nn.ModuleList(Block(width, num_heads, extra_token) for _ in range(num_blocks))

    def forward(self, x_BLD: Tensor, mask_LL: Tensor | None = None) -> Tensor:
        x_BLD = self.pre_transformer_layer(x_BLD)
        for block in self.blocks:
            x_BLD = block(x_BLD, mask_LL)
        return x_BLD
