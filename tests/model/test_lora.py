"""Merged weights against PEFT's unmerged model, and adapters that do not fit."""

import copy
from collections.abc import Iterator
from dataclasses import asdict

import peft
import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig as OracleConfig
from transformers import LlamaForCausalLM

from pandagpt.errors import CheckpointError
from pandagpt.model.config import LlamaConfig, LoraConfig
from pandagpt.model.kv_cache import KVCache, Span
from pandagpt.model.llama import Llama
from pandagpt.model.lora import PROJECTION_KEYS, MergedWeights, lora_key, merge_lora

CONFIG = LlamaConfig(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=50,
    max_position_embeddings=32,
)
LORA = LoraConfig(r=3, alpha=6)
Q_1 = "model.layers.1.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def base() -> Iterator[LlamaForCausalLM]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield LlamaForCausalLM(OracleConfig(**asdict(CONFIG), initializer_range=0.2)).eval()


@pytest.fixture
def state(base: LlamaForCausalLM) -> dict[str, Tensor]:
    return {key: weight.detach().clone() for key, weight in base.state_dict().items()}


@pytest.fixture
def adapter(state: dict[str, Tensor]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(PROJECTION_KEYS, (1,))
    for key, weight in state.items():
        if key.endswith(tuple(f"{target}.weight" for target in LORA.targets)):
            shapes[lora_key(key, "A")] = (LORA.r, weight.shape[1])
            shapes[lora_key(key, "B")] = (weight.shape[0], LORA.r)
    return {key: torch.randn(shape, generator=generator) * 0.2 for key, shape in shapes.items()}


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft's
@torch.no_grad()
def test_merged_equals_peft_unmerged(
    base: LlamaForCausalLM, state: dict[str, Tensor], adapter: dict[str, Tensor]
) -> None:
    ids = torch.arange(20)
    llama = Llama(CONFIG)
    llama.load(merge_lora(state, adapter, LORA))
    hidden = llama(llama.embed(ids), ids, KVCache(CONFIG, 1, 20), 0, [Span(0, 0, 20)])
    oracle = peft.get_peft_model(
        copy.deepcopy(base),
        peft.LoraConfig(r=LORA.r, lora_alpha=LORA.alpha, target_modules=list(LORA.targets)),
    ).eval()
    named = {k.removeprefix("llama_model."): v for k, v in adapter.items() if "lora" in k}
    assert not oracle.load_state_dict(named, strict=False).unexpected_keys
    assert not torch.allclose(llama.logits(hidden), plain_logits(state, ids), atol=0.1)
    torch.testing.assert_close(
        llama.logits(hidden), oracle(ids[None]).logits[0], atol=1e-5, rtol=1e-5
    )


def plain_logits(state: dict[str, Tensor], ids: Tensor) -> Tensor:
    llama = Llama(CONFIG)
    llama.load(state)
    hidden = llama(llama.embed(ids), ids, KVCache(CONFIG, 1, 20), 0, [Span(0, 0, 20)])
    return llama.logits(hidden)


def test_the_base_stays_as_it_was(state: dict[str, Tensor], adapter: dict[str, Tensor]) -> None:
    before = state[Q_1].clone()
    assert not torch.equal(merge_lora(state, adapter, LORA)[Q_1], before)
    assert torch.equal(state[Q_1], before)


def test_merging_is_done_in_float32(state: dict[str, Tensor], adapter: dict[str, Tensor]) -> None:
    half_state = {key: weight.half() for key, weight in state.items()}
    half_adapter = {key: weight.half() for key, weight in adapter.items()}
    a, b = (half_adapter[lora_key(Q_1, part)].float() for part in "AB")
    merged = merge_lora(half_state, half_adapter, LORA)[Q_1]
    torch.testing.assert_close(merged, half_state[Q_1].float() + LORA.scale * b @ a)


def test_every_matrix_is_needed(state: dict[str, Tensor], adapter: dict[str, Tensor]) -> None:
    del adapter[lora_key(Q_1, "B")]
    with pytest.raises(CheckpointError, match=r"missing.*layers\.1\.self_attn\.q_proj\.lora_B"):
        MergedWeights(state, adapter, LORA)


@pytest.mark.parametrize("key", ["llama_model.typo.lora_A.default.weight", "model.norm.weight"])
def test_every_key_has_its_weight(
    state: dict[str, Tensor], adapter: dict[str, Tensor], key: str
) -> None:
    with pytest.raises(CheckpointError, match=f"fit no weight, such as {key}"):
        MergedWeights(state, adapter | {key: torch.zeros(1)}, LORA)


def test_an_adapter_of_another_rank(state: dict[str, Tensor], adapter: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointError, match=r"q_proj.*\[3, 32\].*rank 5"):
        merge_lora(state, adapter, LoraConfig(r=5, alpha=6))
