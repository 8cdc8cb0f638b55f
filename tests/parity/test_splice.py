"""The whole reference procedure: prompt ids, splice, greedy answers, and one training step."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaForCausalLM

from pandagpt.media.limits import MediaLimits
from pandagpt.media.loader import load
from pandagpt.media.modality import Modality
from pandagpt.media.options import MediaOptions
from pandagpt.model.checkpoint import load_bundle
from pandagpt.model.config import LoraConfig
from pandagpt.model.kv_cache import KVCache, Span
from pandagpt.model.pandagpt import PandaGPT
from pandagpt.model.prompt import MediaRef, Prompt, Turn, render, render_training
from pandagpt.training.batch import Example
from pandagpt.training.sft import SftModel, sft_batch, sft_loss

EMBEDS_TOLERANCE = 1e-5
END_TO_END_TOLERANCE = 2e-3
LOGITS_TOLERANCE = 1e-4
LOSS_TOLERANCE = 1e-5  # relative
GRADIENT_TOLERANCE = 1e-5  # of the largest entry

_TURN = re.compile(r"\n### (Assistant|Human): ")


@dataclass(frozen=True, slots=True)
class Case:
    """One question of the golden set, its media in the order in which they are summed."""

    name: str
    facts: dict[str, Any]
    io: dict[str, Tensor]

    @property
    def media(self) -> list[Modality]:
        return [Modality(name) for name in self.facts["files"]]

    @property
    def turns(self) -> list[Turn]:
        """The recorded prompt holds earlier turns as the reference writes them."""
        question, *later = _TURN.split(self.facts["prompt"])
        refs = tuple(MediaRef(index) for index in range(len(self.media)))
        turns = [Turn("user", (*refs, question))]
        for role, text in zip(later[::2], later[1::2], strict=True):
            turns.append(Turn("user" if role == "Human" else "assistant", (text,)))
        return turns

    def __getitem__(self, key: str) -> Tensor:
        return self.io[f"{self.name}.{key}"]


@pytest.fixture(scope="module")
def meta(golden: Path) -> dict[str, Any]:
    return json.loads((golden / "splice" / "splice_meta.json").read_text())


@pytest.fixture(scope="module")
def io(golden: Path) -> dict[str, Tensor]:
    return load_file(golden / "splice" / "splice_io.safetensors")


@pytest.fixture(scope="module")
def cases(meta: dict[str, Any], io: dict[str, Tensor]) -> list[Case]:
    return [Case(name, facts, io) for name, facts in meta["cases"].items()]


@pytest.fixture(scope="module")
def model(golden_bundle: Path) -> PandaGPT:
    return load_bundle(golden_bundle)


def near(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0)


def prompt_of(case: Case, model: PandaGPT) -> Prompt:
    return render(case.turns, model.tokenizer, "sum")


def embeds_of(case: Case, model: PandaGPT) -> Tensor:
    """From the stored embeddings."""
    rows = [case.io[f"embedding.{each}"][0] for each in case.media]
    return model.embed_prompt(prompt_of(case, model), rows)


def test_ids(cases: list[Case], model: PandaGPT) -> None:
    for case in cases:
        prompt = prompt_of(case, model)
        want = [*case["prefix_ids"].tolist(), 0, *case["suffix_ids"].tolist()]
        assert list(prompt.token_ids) == want, case.name
        assert [position for position, _ in prompt.slots] == [len(case["prefix_ids"])], case.name


def test_projections(cases: list[Case], model: PandaGPT) -> None:
    for case in cases:
        projected = [model.project(case.io[f"embedding.{each}"]) for each in case.media]
        for each, row in zip(case.media, projected, strict=True):
            near(row, case.io[f"proj.{each}"], EMBEDS_TOLERANCE)
        total = torch.stack(projected).sum(0)
        near(total, case["modality_embedding_projected"][0], EMBEDS_TOLERANCE)


def test_input_embeddings(cases: list[Case], model: PandaGPT) -> None:
    for case in cases:
        near(embeds_of(case, model), case["inputs_embeds"][0], EMBEDS_TOLERANCE)


def test_input_embeddings_from_media_files(
    cases: list[Case], model: PandaGPT, golden: Path
) -> None:
    encoded: dict[str, Tensor] = {}
    for case in cases:
        for modality, [file] in case.facts["files"].items():
            if file not in encoded:
                data = (golden / "preprocess_io" / file).read_bytes()
                array = load(Modality(modality), data, MediaOptions(), MediaLimits())
                encoded[file] = model.embed_media(Modality(modality), array[np.newaxis])[0]
        rows = [encoded[file] for [file] in case.facts["files"].values()]
        embeds = model.embed_prompt(prompt_of(case, model), rows)
        near(embeds, case["inputs_embeds"][0], END_TO_END_TOLERANCE)


def greedy(model: PandaGPT, prompts: list[Tensor], num_tokens: int) -> tuple[Tensor, Tensor]:
    """Likeliest tokens [prompts, num_tokens] and their logits, all rows in one batch."""
    llama, lengths = model.llama, torch.tensor([len(each) for each in prompts])
    cache = KVCache(llama.config, len(prompts), int(lengths.max()) + num_tokens)
    spans = [Span(row, 0, len(each)) for row, each in enumerate(prompts)]
    positions = torch.cat([torch.arange(span.length) for span in spans])
    hidden = llama(torch.cat(prompts), positions, cache, 0, spans)[lengths.cumsum(0) - 1]
    logits = [llama.logits(hidden)]
    for step in range(num_tokens - 1):
        embeds = llama.embed(logits[-1].argmax(-1))
        logits.append(llama.logits(llama(embeds, lengths + step, cache, len(prompts), [])))
    return torch.stack(logits, 1).argmax(-1), torch.stack(logits, 1)


@pytest.mark.parametrize("together", [False, True], ids=["alone", "in one batch"])
def test_greedy_answers(
    cases: list[Case], meta: dict[str, Any], model: PandaGPT, together: bool
) -> None:
    for group in [cases] if together else [[case] for case in cases]:
        longest = max(case.facts["max_new_tokens"] for case in group)
        prompts = [embeds_of(case, model) for case in group]
        tokens, logits = greedy(model, prompts, longest)
        for row, case in enumerate(group):
            stop_ids = {meta["stop_token"], model.tokenizer.eos_id}
            answer = tokens[row, : case.facts["max_new_tokens"]].tolist()
            ends = [i + 1 for i, token in enumerate(answer) if token in stop_ids]
            assert answer[: ends[0] if ends else None] == case.facts["new_tokens"], case.name
            check_logits(case, logits[row, : len(case.facts["new_tokens"])])


def check_logits(case: Case, logits: Tensor) -> None:
    near(logits[0], case["logits_step0"], LOGITS_TOLERANCE)
    near(logits[-1], case["logits_last"], LOGITS_TOLERANCE)
    near(logits.gather(1, case["top8_ids"]), case["top8_values"], LOGITS_TOLERANCE)


def conversation(recorded: list[dict[str, str]]) -> list[Turn]:
    """The reference's training data; the picture belongs to the first question."""
    turns = [
        Turn("user" if each["from"] == "human" else "assistant", (each["value"],))
        for each in recorded
    ]
    return [Turn("user", (MediaRef(0), *turns[0].parts)), *turns[1:]]


@pytest.fixture(scope="module")
def rendered(meta: dict[str, Any], model: PandaGPT) -> list[Example]:
    """Cut as the reference does: BOS, the prefix and its slot are not counted."""
    examples = []
    for recorded in meta["train"]["conversations"]:
        prompt, learnt = render_training(conversation(recorded), model.tokenizer)
        end = prompt.slots[0][0] + 1 + meta["train"]["max_tgt_len"]
        examples.append(Example(Prompt(prompt.token_ids[:end], prompt.slots), learnt[:end]))
    return examples


def test_training_ids_targets_and_mask(
    rendered: list[Example], io: dict[str, Tensor], model: PandaGPT
) -> None:
    width = io["train.input_ids"].shape[1]
    pad = model.tokenizer.eos_id  # as the reference pads
    ids = torch.full((len(rendered), width), pad)
    targets = torch.full((len(rendered), width), -100)
    for row, each in enumerate(rendered):
        after_slot = slice(each.prompt.slots[0][0] + 1, None)
        tokens = torch.tensor(each.prompt.token_ids[after_slot])
        learnt = torch.tensor(each.learnt[after_slot])
        assert not any(each.learnt[: after_slot.start])
        ids[row, : len(tokens)] = tokens
        targets[row, : len(tokens)] = tokens.where(learnt, -100)
    want_targets = io["train.target_ids"][:, -width:]
    assert torch.equal(ids, io["train.input_ids"])
    assert torch.equal(targets, want_targets)
    assert torch.equal((ids != pad).long(), io["train.attention_mask"])


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft's
def test_training_step(
    rendered: list[Example], meta: dict[str, Any], io: dict[str, Tensor], golden: Path
) -> None:
    llama = LlamaForCausalLM.from_pretrained(golden / "splice" / "llama", dtype=torch.float32)
    width, embed_dim = io["train.image_embeddings"].shape[1], meta["projection"][0]
    assert width == embed_dim
    lora = LoraConfig(meta["lora"]["r"], meta["lora"]["alpha"], tuple(meta["lora"]["targets"]))
    model = SftModel(llama, embed_dim, lora).eval()
    adapter = load_file(golden / "splice" / "delta.safetensors")
    assert adapter.keys() == model.adapter().keys()
    model.load_state_dict({key: each.float() for key, each in adapter.items()}, strict=False)
    rows = io["train.image_embeddings"].float()
    loss = sft_loss(model, sft_batch([(e, rows[i : i + 1]) for i, e in enumerate(rendered)]))
    assert loss.item() == pytest.approx(io["train.loss"].item(), rel=LOSS_TOLERANCE)
    loss.backward()
    check_gradients(model, io)


def check_gradients(model: SftModel, io: dict[str, Tensor]) -> None:
    want = {k.removeprefix("train.grad."): v for k, v in io.items() if k.startswith("train.grad.")}
    ours = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
    assert ours.keys() == want.keys()
    for name, gradient in want.items():
        near(ours[name], gradient, GRADIENT_TOLERANCE * gradient.abs().max().item())
