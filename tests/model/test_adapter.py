"""Models beside a bundle's own: each answers as if it were alone, and takes its adapter's room."""

import gc
import json
import math
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs
from torch import Tensor

from pandagpt.errors import CheckpointError
from pandagpt.media.modality import Modality
from pandagpt.model.adapter_folder import PUBLISHED_FILE, VariantSource
from pandagpt.model.checkpoint import load_bundle
from pandagpt.model.cpu.compiler import library
from pandagpt.model.cpu.decoder import CpuWeights
from pandagpt.model.decoder import Decoder
from pandagpt.model.device import Placement
from pandagpt.model.kv_cache import Span
from pandagpt.model.llama import Llama
from pandagpt.model.manifest import ADAPTER_FILE, LLM_FILE, MANIFEST_FILE, Manifest, seal
from pandagpt.model.pandagpt import PandaGPT
from pandagpt.model.patch import NOBODY, Patched
from pandagpt.model.tensor_files import TensorFiles

BASE = VariantSource("base", None)
KINDS: list[CpuWeights | None] = [None, "float32", "float16", "int16", "int8"]
BOUNDS = {None: 1e-5, "float32": 1e-5, "float16": 2e-3, "int16": 2e-3, "int8": 0.05}
TOKENS = torch.randint(2000, (40,), generator=torch.Generator().manual_seed(0))


def load(bundle: Path, *variants: VariantSource, kind: CpuWeights | None = None) -> PandaGPT:
    if kind and library() is None:
        pytest.skip("needs a C++ compiler")
    return load_bundle(bundle, Placement(cpu_weights=kind), variants)


def logits(llama: Decoder, patched: Patched = NOBODY) -> Tensor:
    cache, span = llama.new_cache(1, 64), Span(0, 0, len(TOKENS))
    positions = torch.arange(len(TOKENS))
    return llama.logits(llama(llama.embed(TOKENS), positions, cache, 0, [span], patched))


def logits_of(model: PandaGPT, name: str) -> Tensor:
    return logits(model.llama, {model.variants[name].difference: range(len(TOKENS))})


def unmerged(bundle: Path) -> Llama:
    llama = Llama(Manifest.read(bundle).llama)
    llama.load(TensorFiles([bundle / LLM_FILE]))
    return llama


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_model_is_what_it_would_be_alone(
    golden_bundle: Path, other_adapter: Path, other_bundle: Path, kind: CpuWeights | None
) -> None:
    """The base, an adapter as published, and the same out of a bundle."""
    sources = [
        BASE,
        VariantSource("published", str(other_adapter)),
        VariantSource("bundle", str(other_bundle)),
    ]
    model = load(golden_bundle, *sources, kind=kind)
    other = logits(load(other_bundle).llama)
    expected = {"base": logits(unmerged(golden_bundle)), "published": other, "bundle": other}
    for name, wanted in expected.items():
        got = logits_of(model, name)
        assert (got - wanted).norm() / wanted.norm() < BOUNDS[kind], name
        if kind != "int8":
            assert torch.equal(got.argmax(1), wanted.argmax(1)), name
    own = load(golden_bundle, kind=kind).llama
    assert torch.equal(logits(model.llama), logits(own))
    assert not torch.equal(other.argmax(1), logits(own).argmax(1))


def test_each_adapter_has_its_own_projection_and_gains(
    golden_bundle: Path, other_bundle: Path, tmp_path: Path
) -> None:
    folder = copied(other_bundle, tmp_path)
    rewrite(folder, gains={"thermal": 0.1})
    model = load(golden_bundle, VariantSource("other", str(folder)))
    rows = torch.randn(2, model.encoders.imagebind.config.embed_dim)
    assert torch.equal(model.project(rows, "other"), load(other_bundle).project(rows))
    assert not torch.equal(model.project(rows), model.project(rows, "other"))
    assert model.gain_of(Modality.THERMAL, "other") == 0.1
    assert model.gain_of(Modality.THERMAL) == model.gain_of(Modality.DEPTH, "other") == 1


def live_bytes() -> int:
    gc.collect()
    tensors = [each for each in gc.get_objects() if issubclass(type(each), Tensor)]
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage() for each in tensors}
    return sum(storage.nbytes() for storage in storages.values())


def test_a_further_model_takes_its_adapter_s_memory_alone(
    golden_bundle: Path, other_bundle: Path
) -> None:
    """Its own ranks, those that take the merged ones away, and a projection."""
    adapters = [TensorFiles([bundle / ADAPTER_FILE]) for bundle in (golden_bundle, other_bundle)]
    most = sum(tensor.numel() * 4 for files in adapters for tensor in files.values())
    del adapters
    before = live_bytes()
    alone = load(golden_bundle)
    first = live_bytes() - before
    before = live_bytes()
    several = load(golden_bundle, VariantSource("other", str(other_bundle)))
    assert live_bytes() - before - first < 1.1 * most < first / 4
    assert alone.llama is not several.llama


# -- folders that are none


def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def rewrite(bundle: Path, **changes: object) -> None:
    path = bundle / MANIFEST_FILE
    data = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps(data | {"seal": seal(data)}))


def change_published(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    state = torch.load(folder / PUBLISHED_FILE, weights_only=True)
    change(state)
    torch.save(state, folder / PUBLISHED_FILE)


def first_key(state: dict[str, Any]) -> str:
    return next(key for key in state if "lora_A" in key)


def cut_short(folder: Path) -> None:
    path = folder / PUBLISHED_FILE
    path.write_bytes(path.read_bytes()[:5000])


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code has run",)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / PUBLISHED_FILE).unlink(), "holds no adapter"),
        (cut_short, "plain weights; is it whole"),
        (lambda f: (f / PUBLISHED_FILE).write_bytes(pickle.dumps(Bomb())), "plain weights"),
        (lambda f: torch.save([1, 2], f / PUBLISHED_FILE), "holds a list"),
        (
            lambda f: change_published(f, lambda s: s.pop("llama_proj.bias")),
            "missing, the first is llama_proj.bias",
        ),
        (
            lambda f: change_published(f, lambda s: s.update(extra=torch.zeros(1))),
            "extra has no place",
        ),
        (
            lambda f: change_published(f, lambda s: s[first_key(s)].fill_(float("nan"))),
            "no finite numbers",
        ),
        (
            lambda f: change_published(f, lambda s: s.update({first_key(s): torch.zeros(0, 64)})),
            "is it PandaGPT's adapter",
        ),
        (
            lambda f: change_published(f, lambda s: s.update({first_key(s): torch.tensor(1.0)})),
            "is it PandaGPT's adapter",
        ),
        (
            lambda f: change_published(f, lambda s: s.update({first_key(s): torch.zeros(6, 32)})),
            r"has shape \[6, 32\], this model needs \[6, 64\]",
        ),
    ],
)
def test_published_folders_that_do_not_fit_are_refused(
    golden_bundle: Path,
    other_adapter: Path,
    tmp_path: Path,
    spoil: Callable[[Path], object],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = copied(other_adapter, tmp_path)
    spoil(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        load(golden_bundle, VariantSource("other", str(folder)))
    assert str(folder) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert "code has run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / ADAPTER_FILE).unlink(), "is missing; the manifest lists it"),
        (lambda f: (f / MANIFEST_FILE).write_text("{}"), "not a bundle's manifest"),
        (lambda f: rewrite(f, files={}), f"does not list {ADAPTER_FILE}"),
        (lambda f: rewrite(f, lora={"r": 0, "alpha": 1, "targets": []}), "LoRA's rank is 0"),
        (lambda f: rewrite(f, lora={"r": 2, "alpha": math.inf, "targets": []}), "alpha is inf"),
        (lambda f: rewrite(f, lora={"r": 2, "alpha": None, "targets": []}), "bundle's manifest"),
        (lambda f: rewrite(f, lora={"r": "2", "alpha": 2, "targets": []}), "bundle's manifest"),
        (lambda f: rewrite(f, gains={"thermal": "loud"}), "bundle's manifest"),
        (lambda f: rewrite(f, lora={"r": 2, "alpha": 1, "targets": ["norm"]}), "'norm', none"),
        (lambda f: rewrite(f, lora={"r": 2, "alpha": 1, "targets": ["q_proj"]}), "has no place"),
        (lambda f: rewrite(f, lora=None), "has no place"),
    ],
)
def test_bundles_that_do_not_fit_are_refused(
    golden_bundle: Path,
    other_bundle: Path,
    tmp_path: Path,
    spoil: Callable[[Path], object],
    message: str,
) -> None:
    folder = copied(other_bundle, tmp_path)
    spoil(folder)
    with pytest.raises(CheckpointError, match=message):
        load(golden_bundle, VariantSource("other", str(folder)))


def test_a_changed_adapter_is_found(
    golden_bundle: Path, other_bundle: Path, tmp_path: Path
) -> None:
    folder = copied(other_bundle, tmp_path)
    data = bytearray((folder / ADAPTER_FILE).read_bytes())
    data[-1] ^= 1
    (folder / ADAPTER_FILE).write_bytes(data)
    with pytest.raises(CheckpointError, match="SHA-256"):
        load(golden_bundle, VariantSource("other", str(folder)))


def test_only_manifest_and_adapter_of_a_bundle_are_read(
    golden_bundle: Path, other_bundle: Path, tmp_path: Path
) -> None:
    for name in (MANIFEST_FILE, ADAPTER_FILE):
        shutil.copy(other_bundle / name, tmp_path / name)
    model = load(golden_bundle, VariantSource("other", str(tmp_path)))
    assert not torch.equal(logits_of(model, "other"), logits(model.llama))


def test_an_adapter_of_other_weights_is_warned_of(
    golden_bundle: Path, other_bundle: Path, tmp_path: Path
) -> None:
    folder = copied(other_bundle, tmp_path)
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    rewrite(folder, files=manifest["files"] | {LLM_FILE: {"bytes": 1, "sha256": "0" * 64}})
    with capture_logs() as lines:
        load(golden_bundle, VariantSource("other", str(folder)))
    (line,) = [line for line in lines if line["event"] == "adapter_of_other_weights"]
    assert line["files"] == [LLM_FILE]
