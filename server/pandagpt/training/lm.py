"""Stage C: the tiny LLaMA, trained from scratch on the corpus, in text alone.

A tokenizer and a seed in, a `LlamaForCausalLM` and the gate's figures out. Loss on answers
only: as a target, an unforeseeable word pulls all interchangeable words onto one vector.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaConfig as HfLlamaConfig
from transformers import LlamaForCausalLM

from pandagpt.model.config import LlamaConfig
from pandagpt.model.tokenizer import Tokenizer
from pandagpt.training.batch import Batch
from pandagpt.training.corpus.bags import WordSums, batches
from pandagpt.training.corpus.dialogues import Dialogue, corpus, last_corpus

REPORT_EVERY = 300
# What all words share, so that attention can go by place alone from the first layer on.
COMMON_DIMS, COMMON_VALUE = 8, 0.25
LOOK_BACK = (1, 2, 3)
LOOK_BACK_PAIRS, LOOK_BACK_STRENGTH = 5, 0.9
BROUGHT_ALONG, MATCH_STRENGTH = 0.25, 2.0


@dataclass(frozen=True, slots=True)
class LmPlan:
    """How long and how hard the tiny language model is trained."""

    steps: int = 3000
    last_steps: int = 1000
    batch_size: int = 32
    peak_lr: float = 1.2e-3
    weight_decay: float = 0.05
    noise: float = 0.5
    """A slot's vector gets Gaussian noise of up to this share of its own length."""
    seed: int = 0


def tiny_llama(vocab_size: int) -> LlamaConfig:
    return LlamaConfig(
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        vocab_size=vocab_size,
        max_position_embeddings=512,
        # With the loss on answers alone the words written do not collapse onto each other,
        # which is what tying them to the words read would be for.
        tie_word_embeddings=False,
    )


def new_llama(config: LlamaConfig, seed: int) -> LlamaForCausalLM:
    """Word vectors begin at unit length, nearly orthogonal: far from the collapsed saddle."""
    torch.manual_seed(seed)
    values = {k: v for k, v in config.to_dict().items() if k not in ("architectures", "model_type")}
    model = LlamaForCausalLM(HfLlamaConfig(**values))
    std, depth = config.hidden_size**-0.5, (2 * config.num_hidden_layers) ** 0.5
    for name, weight in model.named_parameters():
        if weight.ndim == 2:
            is_output = name.endswith(("o_proj.weight", "down_proj.weight"))
            nn.init.normal_(weight, std=std / depth if is_output else std)
    with torch.no_grad():
        word_vectors(model).weight[:, :COMMON_DIMS] = COMMON_VALUE
        for head, steps_back in enumerate(LOOK_BACK):
            look_back(model, config, head, steps_back)
        match_words(model, config)
    return model


def look_back(model: LlamaForCausalLM, config: LlamaConfig, head: int, steps_back: int) -> None:
    """Lets a head of the first layer begin by attending so many tokens back, whatever they are.

    Queries and keys come from the words' common part alone and turn with the place: the
    rotary angles agree best at that distance. Such heads form by themselves, but late.
    """
    half = config.head_dim // 2
    angle = steps_back * config.rope_theta ** (-torch.arange(half) / half)
    strength = LOOK_BACK_STRENGTH * (torch.arange(half) < LOOK_BACK_PAIRS)
    query = torch.cat([strength * angle.cos(), -strength * angle.sin()])
    key = torch.cat([strength, torch.zeros(half)])
    for name, value in (("q_proj", query), ("k_proj", key)):
        rows = _rows_of_head(model, config, 0, head, name)
        rows.zero_()
        rows[:, :COMMON_DIMS] = value[:, None] * COMMON_DIMS**-0.5


def match_words(model: LlamaForCausalLM, config: LlamaConfig) -> None:
    """Lets two heads of the second layer begin with a leaning towards equal words.

    What the first look-back head brings along is read from one subspace, a word itself from
    another. Head 0 finds where the word before stood; head 1, the word after which this one
    stood (an induction head). Only slowly turning pairs take part: distance must not matter.
    """
    half, quarter = config.head_dim // 2, config.head_dim // 4
    slow = [*range(half - quarter, half), *range(config.head_dim - quarter, config.head_dim)]
    spans = torch.zeros(2 * len(slow), config.hidden_size)
    nn.init.orthogonal_(spans[:, COMMON_DIMS:])
    word, before = spans.chunk(2)
    _rows_of_head(model, config, 0, 0, "v_proj")[: len(slow)] = word
    output = model.get_submodule("model.layers.0.self_attn.o_proj").get_parameter("weight")
    output[:, : len(slow)] = BROUGHT_ALONG * before.T
    for head, (query, key) in enumerate(((before, word), (word, before))):
        for name, value in (("q_proj", query), ("k_proj", key)):
            rows = _rows_of_head(model, config, 1, head, name)
            rows.zero_()
            rows[slow] = MATCH_STRENGTH * value


def _rows_of_head(
    model: LlamaForCausalLM, config: LlamaConfig, layer: int, head: int, name: str
) -> Tensor:
    projection = model.get_submodule(f"model.layers.{layer}.self_attn.{name}")
    rows = slice(head * config.head_dim, (head + 1) * config.head_dim)
    return projection.get_parameter("weight")[rows]


def with_noise(vectors_SH: Tensor, share: float) -> Tensor:
    """Adds noise of a random length up to `share` of each vector's own."""
    direction = F.normalize(torch.randn_like(vectors_SH), dim=-1)
    length = vectors_SH.norm(dim=-1, keepdim=True) * torch.rand_like(vectors_SH[:, :1]) * share
    return vectors_SH + direction * length


def word_vectors(model: LlamaForCausalLM) -> nn.Embedding:
    table = model.get_input_embeddings()
    assert isinstance(table, nn.Embedding)
    return table


def answer_logits(model: LlamaForCausalLM, batch: Batch, slots_SH: Tensor) -> Tensor:
    """Logits [N, V] of the learnt tokens, with `slots_SH` at the batch's slots."""
    embeds = word_vectors(model)(batch.ids_BT).flatten(0, 1)
    embeds = embeds.index_copy(0, batch.slot_S, slots_SH).view(*batch.ids_BT.shape, -1)
    hidden = model.get_decoder()(inputs_embeds=embeds, use_cache=False).last_hidden_state
    return model.get_output_embeddings()(hidden.flatten(0, 1)[batch.source_N])


def lm_loss(model: LlamaForCausalLM, batch: Batch, sums: WordSums, noise: float) -> Tensor:
    slots = with_noise(sums.vectors(word_vectors(model).weight), noise)
    return F.cross_entropy(answer_logits(model, batch, slots), batch.target_N)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """No decay on word vectors, gains and biases."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    matrices = [p for n, p in named if p.ndim > 1 and "embed" not in n]
    others = [p for n, p in named if p.ndim <= 1 or "embed" in n]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def train_lm(
    tokenizer: Tokenizer,
    plan: LmPlan,
    device: str = "cpu",
    report: Callable[[int, float, LlamaForCausalLM], None] | None = None,
) -> LlamaForCausalLM:
    """Trains; `report` is told step, loss and model every `REPORT_EVERY` steps."""
    model = new_llama(tiny_llama(tokenizer.vocab_size), plan.seed).to(device)
    for dialogues, steps in (
        (corpus(plan.seed), plan.steps),
        (last_corpus(plan.seed), plan.last_steps),
    ):
        _train_on(dialogues, steps, model, tokenizer, plan, report)
    return model


def _train_on(
    dialogues: Iterator[Dialogue],
    steps: int,
    model: LlamaForCausalLM,
    tokenizer: Tokenizer,
    plan: LmPlan,
    report: Callable[[int, float, LlamaForCausalLM], None] | None,
) -> None:
    """One cycle of the learning rate."""
    optimizer = torch.optim.AdamW(
        parameter_groups(model, plan.weight_decay), plan.peak_lr, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.peak_lr, steps, pct_start=0.05)
    stream = batches(dialogues, tokenizer, plan.batch_size, plan.seed)
    for step, (batch, sums) in enumerate(islice(stream, steps), 1):
        loss = lm_loss(model, batch.to(model.device), sums, plan.noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if report and (step % REPORT_EVERY == 0 or step == steps):
            report(step, loss.item(), model)
