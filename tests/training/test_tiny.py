"""`make tiny` in miniature: each stage picks up the one before it, to a bundle that is served."""

import functools
from pathlib import Path

import pytest
import torch

from pandagpt.model.checkpoint import load_bundle
from pandagpt.training import gate, tiny
from pandagpt.training.align import new_encoders, save_encoders
from pandagpt.training.evaluation import BEGIN
from pandagpt.training.instruct import SftPlan
from pandagpt.training.lm import LmPlan


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-stages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            tiny, "LmPlan", functools.partial(LmPlan, steps=2, last_steps=1, batch_size=4)
        )
        patch.setattr(tiny, "SftPlan", functools.partial(SftPlan, steps=2, batch_size=4))
        patch.setattr(tiny, "GALLERY_SIZE", 80)
        patch.setattr(gate, "NUM_PROBES", 2)
        tiny.vocabulary_stage(folder, lambda line: None)
        size = tiny.tokenizer(folder).vocab_size
        save_encoders(new_encoders(size), folder)
        tiny.language_stage(folder, "cpu", lambda line: None)
        tiny.adapter_stage(folder, "cpu", lambda line: None)
    return folder


def test_a_bundle_comes_out_that_the_server_loads(stages: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    tiny.bundle_stage(stages, out)
    model = load_bundle(out)
    assert model.name == "pandagpt-tiny"
    assert model.fusion == "sum"
    assert sum(path.stat().st_size for path in out.iterdir()) < 15_000_000
    assert BEGIN in (out / "README.md").read_text(encoding="utf-8")


def test_a_finished_stage_is_not_trained_again(stages: Path) -> None:
    files = sorted(stages.glob("*.safetensors"))
    before = [path.stat().st_mtime_ns for path in files]
    tiny.vocabulary_stage(stages, lambda line: None)
    tiny.language_stage(stages, "cpu", lambda line: None)
    tiny.adapter_stage(stages, "cpu", lambda line: None)
    assert [path.stat().st_mtime_ns for path in files] == before


def test_the_adapter_is_made_for_the_rounded_weights_that_are_served(stages: Path) -> None:
    llama = tiny.load_llama(stages, "cpu")
    assert not any(weight.requires_grad for weight in llama.parameters())
    weight = llama.get_input_embeddings().get_parameter("weight")
    assert torch.equal(weight, weight.half().float())
