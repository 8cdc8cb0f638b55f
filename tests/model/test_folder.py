"""Plain LLaMA folders: the tokens of transformers' `generate`, and folders that are wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pandagpt.engine.request import GenerateRequest, SamplingParams
from pandagpt.errors import CheckpointError
from pandagpt.model.folder import ModelFacts, resolve_folder
from pandagpt.model.llama import Llama
from pandagpt.model.loader import load_model
from pandagpt.model.pandagpt import PandaGPT
from pandagpt.model.prompt import Prompt
from tests.engine.test_engine import Bench
from tests.plain_llama import TEMPLATE, TokenizerKind, greedy_tokens, write_folder

NUM_TOKENS = 24
PROMPTS = ((1, 5, 9, 200, 31), (1, 77), tuple(range(1, 40)))


@pytest.fixture(scope="session")
def sentencepiece(golden: Path) -> Path:
    return golden / "splice" / "llama" / "tokenizer.model"


def load(folder: Path) -> PandaGPT:
    return load_model(resolve_folder(str(folder)))


SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "grouped queries": {"num_key_value_heads": 2},
    "tied": {"tie_word_embeddings": True},
    "rope theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "shards": {"shard_size": "200KB"},
    "eps": {"rms_norm_eps": 0.1},
}


@pytest.mark.parametrize("fields", SHAPES.values(), ids=list(SHAPES))
def test_tokens_equal_generate(fields: dict[str, Any], sentencepiece: Path, tmp_path: Path) -> None:
    oracle = write_folder(tmp_path / "llama", sentencepiece, **fields)
    model = load(tmp_path / "llama")
    assert (model.name, model.max_model_len, model.reads_media) == ("llama", 128, False)
    params = SamplingParams(NUM_TOKENS, temperature=0.0, ignore_eos=True)
    requests = [GenerateRequest(str(i), Prompt(ids), (), params) for i, ids in enumerate(PROMPTS)]
    results = Bench(model).run(*requests)
    for i, ids in enumerate(PROMPTS):
        assert results[str(i), 0].token_ids == greedy_tokens(oracle, ids, NUM_TOKENS)


@pytest.mark.parametrize("old", [{"rope_theta": 500.0}, {"head_dim": 12}])
def test_older_configs_mean_the_same(
    old: dict[str, Any], sentencepiece: Path, tmp_path: Path
) -> None:
    write_folder(tmp_path / "llama", sentencepiece)
    change(tmp_path / "llama" / "config.json", rope_parameters=None, **old)
    assert load(tmp_path / "llama").llama.config.rope_theta == old.get("rope_theta", 10000.0)


def test_head_that_an_old_file_stores_beside_its_tie(sentencepiece: Path, tmp_path: Path) -> None:
    folder = tmp_path / "llama"
    oracle = write_folder(folder, sentencepiece, tie_word_embeddings=True)
    (folder / "model.safetensors").unlink()
    torch.save(oracle.state_dict(), folder / "pytorch_model.bin")
    assert "lm_head.weight" in oracle.state_dict()
    llama = load(folder).llama
    assert isinstance(llama, Llama)
    assert torch.equal(llama.head, oracle.lm_head.weight)


REFUSED: dict[str, Any] = {
    "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0},
    "rope_scaling": {"type": "dynamic", "factor": 2.0},
    "attention_bias": True,
    "model_type": "mistral",
    "head_dim": 16,
    "quantization_config": {"quant_method": "awq"},
}


@pytest.mark.parametrize("field", REFUSED)
def test_refuses_by_name(field: str, sentencepiece: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "llama", sentencepiece)
    change(tmp_path / "llama" / "config.json", **{field: REFUSED[field]})
    name = "rope_type" if field == "rope_parameters" else field
    with pytest.raises(CheckpointError, match=rf"config.json: {name} is .* only .* is supported"):
        load(tmp_path / "llama")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_truncated_file_is_named(name: str, sentencepiece: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "llama", sentencepiece, "byte_level")
    path = tmp_path / "llama" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=name):
        load(tmp_path / "llama")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_absent_file_is_named(name: str, sentencepiece: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "llama", sentencepiece, "byte_level")
    (tmp_path / "llama" / name).unlink()
    with pytest.raises(CheckpointError, match=f"holds neither .*{name}"):
        load(tmp_path / "llama")


def test_tokenizer_larger_than_the_model_is_refused(sentencepiece: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "llama", sentencepiece, vocab_size=100)
    with pytest.raises(CheckpointError, match=r"tokenizer.model: has \d+ pieces"):
        load(tmp_path / "llama")


@pytest.mark.parametrize("kind", ["sentencepiece", "byte_level", "pieces"])
def test_template_is_read_with_its_special_tokens(
    kind: TokenizerKind, sentencepiece: Path, tmp_path: Path
) -> None:
    write_folder(tmp_path / "llama", sentencepiece, kind, TEMPLATE)
    tokenizer = load(tmp_path / "llama").tokenizer
    assert ModelFacts.read(tmp_path / "llama").chat_template is not None
    assert (tokenizer.bos_id, tokenizer.eos_id) == (1, 2)


def test_no_template_no_guess(sentencepiece: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "llama", sentencepiece)
    assert ModelFacts.read(tmp_path / "llama").chat_template is None


def change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
