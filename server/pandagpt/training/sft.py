"""Instruction tuning as PandaGPT does it: one projection and LoRA learn, all else is frozen.

A language model, cached media embeddings and conversations in; the adapter's tensors out, under
the published checkpoint's names. Serves the bundled model and any bundle alike; knows no media.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from peft import LoraConfig as PeftLoraConfig
from peft import get_peft_model
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from pandagpt.model.config import LoraConfig
from pandagpt.training.batch import Batch, Example, collate
from pandagpt.training.lm import answer_logits
from pandagpt.training.schedule import learning_rate

# The reference's DeepSpeed settings (model facts, section 3.5).
BETAS = (0.9, 0.95)
WEIGHT_DECAY = 0.001
MAX_GRAD_NORM = 1.0


class SftModel(nn.Module):
    """Its trainable parameters bear the names that the reference's checkpoint gives them."""

    def __init__(self, llama: LlamaForCausalLM, embed_dim: int, lora: LoraConfig) -> None:
        super().__init__()
        config = PeftLoraConfig(
            r=lora.r, lora_alpha=lora.alpha, target_modules=list(lora.targets), bias="none"
        )
        with warnings.catch_warnings():
            # peft asks transformers by a name that it has since changed.
            warnings.simplefilter("ignore", FutureWarning)
            self.llama_model = get_peft_model(llama, config)
        self.llama_proj = nn.Linear(embed_dim, llama.config.hidden_size)

    @property
    def llama(self) -> LlamaForCausalLM:
        llama = self.llama_model.get_base_model()
        assert isinstance(llama, LlamaForCausalLM)
        return llama

    def adapter(self) -> dict[str, Tensor]:
        """Everything that learns, ready to be written."""
        learning = {name for name, each in self.named_parameters() if each.requires_grad}
        return {name: each for name, each in self.state_dict().items() if name in learning}


@dataclass(frozen=True, slots=True)
class SftBatch:
    """`media_ME`: embeddings of all media; `slot_of_M`: the slot that each is added into."""

    tokens: Batch
    media_ME: Tensor
    slot_of_M: Tensor

    def to(self, device: torch.device | str) -> "SftBatch":
        return SftBatch(self.tokens.to(device), self.media_ME.to(device), self.slot_of_M.to(device))


def sft_batch(drawn: Sequence[tuple[Example, Tensor]]) -> SftBatch:
    """Each example comes with the embeddings [media, E] that its slots refer to by index."""
    rows: list[Tensor] = []
    slot_of: list[int] = []
    num_slots = 0
    for each, media_ME in drawn:
        for _, slot in each.prompt.slots:
            rows += [media_ME[index] for index in slot.media]
            slot_of += [num_slots] * len(slot.media)
            num_slots += 1
    embed_dim = drawn[0][1].shape[-1]
    media = torch.stack(rows) if rows else torch.zeros(0, embed_dim)
    return SftBatch(collate([each for each, _ in drawn]), media, torch.tensor(slot_of).long())


def sft_logits(model: SftModel, batch: SftBatch) -> Tensor:
    """[N, V] of the learnt tokens. A slot is the sum of its media's projections, bias and all."""
    projected_MH = model.llama_proj(batch.media_ME)
    slots_SH = projected_MH.new_zeros(batch.tokens.slot_S.numel(), projected_MH.shape[-1])
    slots_SH = slots_SH.index_add(0, batch.slot_of_M, projected_MH)
    return answer_logits(model.llama, batch.tokens, slots_SH)


def sft_loss(model: SftModel, batch: SftBatch) -> Tensor:
    """Mean cross-entropy over every learnt token of the batch."""
    return F.cross_entropy(sft_logits(model, batch), batch.tokens.target_N)


def sft_optimizer(model: SftModel, peak: float) -> torch.optim.AdamW:
    learning = [each for each in model.parameters() if each.requires_grad]
    return torch.optim.AdamW(learning, peak, betas=BETAS, weight_decay=WEIGHT_DECAY)


def sft_step(
    model: SftModel, batch: SftBatch, optimizer: torch.optim.Optimizer, rate: float
) -> float:
    """One optimiser step at learning rate `rate`; returns the loss before it."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = sft_loss(model, batch)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
    optimizer.step()
    return loss.item()


def reference_rate(step: int, total: int, peak: float) -> float:
    """The reference's schedule: a tenth of the steps, at least ten, warm up."""
    return learning_rate(step, total, max(10, total // 10), peak)
