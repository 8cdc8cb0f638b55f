"""The golden questions through the whole serving path: files, encoders, one mixed batch, text."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from pandagpt.engine.config import EngineConfig
from pandagpt.engine.encoder import Encoder
from pandagpt.engine.engine import Engine, Event
from pandagpt.engine.request import Delta, GenerateRequest, MediaInput, SamplingParams
from pandagpt.engine.runner import Runner
from pandagpt.media.limits import MediaLimits
from pandagpt.media.loader import digest, load
from pandagpt.media.modality import Modality
from pandagpt.media.options import MediaOptions
from pandagpt.model.checkpoint import load_bundle
from pandagpt.model.cpu.compiler import library
from pandagpt.model.device import Placement
from pandagpt.model.pandagpt import PandaGPT
from pandagpt.model.prompt import MediaSlot, Prompt


@pytest.fixture(scope="module", params=[None, "float32", "float16", "int16"])
def model(golden_bundle: Path, request: pytest.FixtureRequest) -> PandaGPT:
    """By torch, and by the compiled decoder with the kinds of weights that keep golden tokens."""
    if request.param is not None and library() is None:
        pytest.skip("needs a C++ compiler")
    return load_bundle(golden_bundle, Placement(cpu_weights=request.param))


@pytest.fixture(scope="module")
def meta(golden: Path) -> dict[str, Any]:
    return json.loads((golden / "splice" / "splice_meta.json").read_text())


@pytest.fixture(scope="module")
def requests(golden: Path, meta: dict[str, Any]) -> list[GenerateRequest]:
    io = load_file(golden / "splice" / "splice_io.safetensors")
    result = []
    for name, case in meta["cases"].items():
        before, after = (io[f"{name}.{part}_ids"].tolist() for part in ("prefix", "suffix"))
        media = tuple(
            medium(golden / "preprocess_io" / file, Modality(modality))
            for modality, files in case["files"].items()
            for file in files
        )
        slot = MediaSlot(tuple(range(len(media))))
        prompt = Prompt((*before, 0, *after), ((len(before), slot),))
        params = SamplingParams(
            case["max_new_tokens"], temperature=0.0, stop_token_ids=(meta["stop_token"],)
        )
        result.append(GenerateRequest(name, prompt, media, params))
    return result


def medium(path: Path, modality: Modality) -> MediaInput:
    data, options = path.read_bytes(), MediaOptions()
    array = load(modality, data, options, MediaLimits())
    return MediaInput(modality, array, digest(modality, data, options))


def run(model: PandaGPT, requests: list[GenerateRequest]) -> dict[str, list[int]]:
    config = EngineConfig(max_rows=4, max_step_tokens=24)
    engine, encoder = Engine(Runner(model, config), config), Encoder(model, max_batch=2)
    jobs = [job for request in requests for job in engine.add(request)[0]]
    events: list[Event] = [e for encoded in encoder.encode(jobs) for e in engine.add_media(encoded)]
    while engine.has_work:
        events += engine.step()
    tokens: dict[str, list[int]] = {request.request_id: [] for request in requests}
    for name, delta in events:
        assert isinstance(delta, Delta)
        tokens[name] += delta.token_ids
    return tokens


def test_every_golden_answer_in_one_batch(
    model: PandaGPT, meta: dict[str, Any], requests: list[GenerateRequest]
) -> None:
    tokens = run(model, requests)
    assert tokens == {name: case["new_tokens"] for name, case in meta["cases"].items()}


def test_every_golden_answer_alone(
    model: PandaGPT, meta: dict[str, Any], requests: list[GenerateRequest]
) -> None:
    for request in requests:
        name = request.request_id
        assert run(model, [request])[name] == meta["cases"][name]["new_tokens"]
