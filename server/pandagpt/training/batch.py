"""Conversations as a training batch: token ids, which of them are learnt, where vectors stand.

Rendered conversations in, tensors out. Shared by the language model's training, by the SFT and
by the measuring of both; what the slots hold is the caller's business.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from pandagpt.model.prompt import Fusion, Prompt, Turn, render_training
from pandagpt.model.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Example:
    """A rendered conversation; the loss is taken where `learnt` is true."""

    prompt: Prompt
    learnt: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.prompt)


def example(turns: Sequence[Turn], tokenizer: Tokenizer, fusion: Fusion) -> Example:
    return Example(*render_training(turns, tokenizer, fusion))


@dataclass(frozen=True, slots=True)
class Batch:
    """B conversations padded on the right to T, N learnt tokens in all, S slots.

    `source_N`: flat positions of B x T after which a learnt token comes, `target_N` that token,
    `owner_N` its conversation. `slot_S`: flat positions that hold a vector instead of a token.
    Padding needs no mask: attention is causal and nothing of it is learnt.
    """

    ids_BT: Tensor
    source_N: Tensor
    target_N: Tensor
    owner_N: Tensor
    slot_S: Tensor

    def to(self, device: torch.device | str) -> Self:
        return type(self)(*(getattr(self, each.name).to(device) for each in fields(self)))


def collate(examples: Sequence[Example]) -> Batch:
    length = max(map(len, examples))
    ids = torch.zeros(len(examples), length, dtype=torch.long)
    learnt = torch.zeros(len(examples), length, dtype=torch.bool)
    slots: list[int] = []
    for row, each in enumerate(examples):
        ids[row, : len(each)] = torch.tensor(each.prompt.token_ids)
        learnt[row, : len(each)] = torch.tensor(each.learnt)
        slots += [row * length + position for position, _ in each.prompt.slots]
    owner, column = learnt.nonzero(as_tuple=True)
    source = owner * length + column - 1
    return Batch(ids, source, ids[learnt], owner, torch.tensor(slots, dtype=torch.long))
