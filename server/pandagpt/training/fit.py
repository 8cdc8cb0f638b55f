"""The training loop that every encoder shares, and the two losses that it lowers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_GRADIENT_NORM = 1.0
REPORT_EVERY = 50
Report = Callable[[int, float], None]
"""Told the step and its loss now and then."""


@dataclass(frozen=True, slots=True)
class Plan:
    """AdamW under one cycle of the learning rate."""

    steps: int
    batch_size: int = 128
    peak_lr: float = 1.5e-3
    weight_decay: float = 0.05


def fit(
    parameters: Sequence[nn.Parameter],
    plan: Plan,
    loss_of_next_batch: Callable[[], Tensor],
    report: Report,
) -> None:
    """Lowers the loss for `plan.steps`."""
    optimizer = torch.optim.AdamW(
        parameters, plan.peak_lr, weight_decay=plan.weight_decay, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, plan.peak_lr, plan.steps, pct_start=0.1
    )
    for step in range(1, plan.steps + 1):
        loss = loss_of_next_batch()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
        optimizer.step()
        schedule.step()
        if step % REPORT_EVERY == 0 or step == plan.steps:
            report(step, loss.item())


def contrastive_loss(similarity_AB: Tensor, fits_AB: Tensor) -> Tensor:
    """InfoNCE in both directions; several partners may fit, and share the probability."""
    return share_loss(similarity_AB, fits_AB) + share_loss(similarity_AB.T, fits_AB.T)


def share_loss(logits_NC: Tensor, present_NC: Tensor) -> Tensor:
    """Cross-entropy against equal shares of what is present; rows with nothing count 0."""
    present_NC = present_NC.to(logits_NC)
    shares_NC = present_NC / present_NC.sum(1, keepdim=True).clamp(min=1)
    return -(shares_NC * F.log_softmax(logits_NC, dim=1)).sum(1).mean()
