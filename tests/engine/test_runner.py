"""Requests to several models in one batch: each gets what its own model says alone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pandagpt.engine.config import EngineConfig
from pandagpt.engine.request import Delta, GenerateRequest, MediaInput, SamplingParams
from pandagpt.errors import EngineFailure
from pandagpt.media.modality import Modality
from pandagpt.model.adapter_folder import VariantSource
from pandagpt.model.checkpoint import load_bundle
from pandagpt.model.cpu.compiler import library
from pandagpt.model.device import Placement
from pandagpt.model.pandagpt import PandaGPT
from pandagpt.model.prompt import MediaSlot, Prompt
from tests.engine.test_engine import Bench, alone

pytestmark = pytest.mark.usefixtures("is_asynchronous")

GREEDY = SamplingParams(max_tokens=16, temperature=0.0, ignore_eos=True, logprobs=0)
CONFIG = EngineConfig(max_rows=6, max_step_tokens=24)
NAMES = ("", "base", "other")


@pytest.fixture(scope="module", params=[None, "float16", "int16"], ids=str)
def model(golden_bundle: Path, other_adapter: Path, request: pytest.FixtureRequest) -> PandaGPT:
    if request.param and library() is None:
        pytest.skip("needs a C++ compiler")
    sources = [VariantSource("base", None), VariantSource("other", str(other_adapter))]
    return load_bundle(golden_bundle, Placement(cpu_weights=request.param), sources)


def asked(name: str, model: str, *media: MediaInput, length: int = 20) -> GenerateRequest:
    ids = np.random.default_rng(len(name)).integers(3, 2000, length).tolist()
    slots = tuple((1 + i, MediaSlot((i,))) for i in range(len(media)))
    prompt = Prompt((1, *[0] * len(media), *ids), slots)
    return GenerateRequest(name, prompt, media, GREEDY, model=model)


def picture(seed: int) -> MediaInput:
    array = np.random.default_rng(seed).normal(size=(3, 224, 224)).astype(np.float32)
    return MediaInput(Modality.IMAGE, array, f"image-{seed}")


def test_the_models_differ(model: PandaGPT) -> None:
    answers = {tuple(alone(model, asked("a", name))[0].token_ids) for name in NAMES}
    assert len(answers) == 3


def test_a_batch_of_several_models_gives_what_each_gives_alone(model: PandaGPT) -> None:
    """Prompts longer than a chunk, choices that copy their sibling's prompt, and a queue."""
    requests = [
        asked(f"{name or 'first'} {length}", name, length=length)
        for length in (5, 40, 12)
        for name in NAMES
    ]
    requests[1] = replace(requests[1], n=2)
    requests += [
        asked("seen", "", picture(1)),
        asked("seen otherwise", "other", picture(1), picture(2)),
    ]
    results = Bench(model, CONFIG).run(*requests)
    for one in requests:
        for index, expected in enumerate(alone(model, one, CONFIG)):
            got = results[one.request_id, index]
            assert got.token_ids == expected.token_ids, one.request_id
            np.testing.assert_allclose(got.logprobs, expected.logprobs, atol=1e-4)


def test_a_medium_is_encoded_once_for_all_models(model: PandaGPT) -> None:
    bench = Bench(model)
    bench.run(asked("a", "", picture(1)))
    bench.add(asked("b", "other", picture(1)))
    assert not bench.jobs


def test_each_model_projects_media_by_itself(model: PandaGPT) -> None:
    rows = [torch.ones(model.encoders.imagebind.config.embed_dim)]
    prompt = asked("a", "", picture(1)).prompt
    own, other = (model.embed_prompt(prompt, rows, name) for name in ("", "other"))
    assert (own != other).any(dim=1).tolist() == [False, True] + [False] * 20


def test_gains_multiply_what_a_prompt_gets_of_a_medium(
    model: PandaGPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not what is cached, which other models and embeddings share."""
    given: dict[str, Tensor] = {}
    embed_prompt = PandaGPT.embed_prompt

    def seen(self: PandaGPT, prompt: Prompt, rows: Sequence[Tensor], name: str) -> Tensor:
        given[name] = rows[0]
        return embed_prompt(self, prompt, rows, name)

    monkeypatch.setattr(PandaGPT, "embed_prompt", seen)
    other = replace(model.variants["other"], gains={Modality.IMAGE: 0.25})
    monkeypatch.setattr(model, "variants", {"other": other})
    Bench(model).run(asked("a", "", picture(1)), asked("b", "other", picture(1)))
    assert torch.equal(given["other"], 0.25 * given[""])


def test_models_share_no_prefixes(model: PandaGPT) -> None:
    """A second question finds what its own model has computed, and nothing of another's."""
    bench = Bench(model, CONFIG)
    for count in (0, 32):
        for name in NAMES:
            one = asked("a", name, length=40)
            bench.results.clear()
            bench.add(one)
            events = [event for _ in range(3) for event in bench.engine.step()]
            cached = [delta.cached_tokens for _, delta in events if isinstance(delta, Delta)]
            assert cached[0] == count
            token_ids = [i for _, d in events if isinstance(d, Delta) for i in d.token_ids]
            bench.run()
            token_ids += bench.results["a", 0].token_ids
            assert token_ids == alone(model, one, CONFIG)[0].token_ids


def test_a_model_that_is_not_there_fails_its_request_alone(model: PandaGPT) -> None:
    results = Bench(model).run(asked("good", "other"), asked("bad", "none"))
    assert isinstance(results["bad", 0].error, EngineFailure)
    assert results["good", 0].finish_reason == "length"
