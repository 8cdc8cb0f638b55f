"""Conversion of published checkpoints: right ones whole, wrong ones refused by file and key."""

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pandagpt.errors import CheckpointError
from pandagpt.media.modality import Modality
from pandagpt.model.checkpoint import load_bundle
from pandagpt.model.convert import convert
from pandagpt.model.manifest import Manifest
from tests.conftest import Published

State = dict[str, Tensor]
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


@pytest.fixture
def source(golden_published: Published, tmp_path: Path) -> Published:
    """A copy to spoil."""
    old = golden_published
    return replace(
        old,
        imagebind=Path(shutil.copy(old.imagebind, tmp_path)),
        pandagpt=Path(shutil.copy(old.pandagpt, tmp_path)),
        vicuna=Path(shutil.copytree(old.vicuna, tmp_path / "vicuna")),
    )


def run(source: Published, out: Path, delta: Path | None = None, *, balance: bool = False) -> Path:
    convert(
        source.imagebind,
        source.vicuna,
        delta,
        source.pandagpt,
        out,
        lambda file, done, total: None,
        imagebind_config=source.imagebind_config,
        lora_alpha=source.lora_alpha,
        balance_media=balance,
    )
    return out


def llm_state(bundle: Path) -> State:
    parts = [load_file(bundle / name) for name in Manifest.read(bundle).llm_files]
    return {key: tensor for part in parts for key, tensor in part.items()}


def same(ours: State, theirs: State) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def shard(folder: Path, save: Callable[[State, Path], None], stem: str, suffix: str) -> None:
    """Splits a folder's weights into two files and an index, as large models come."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = [f"{stem}-0000{i}-of-00002.{suffix}" for i in (1, 2)]
    file_of = {key: names[i % 2] for i, key in enumerate(sorted(state))}
    for name in names:
        save({k: v for k, v in state.items() if file_of[k] == name}, folder / name)
    index = {"metadata": {}, "weight_map": file_of}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))


def test_golden_set_is_converted_exactly(golden_bundle: Path, golden: Path) -> None:
    splice = golden / "splice"
    ours = load_file(golden_bundle / "imagebind.safetensors")
    source = load_file(golden / "imagebind_tiny.safetensors")
    assert same({k: v.half() for k, v in ours.items()}, source)
    assert same(llm_state(golden_bundle), load_file(splice / "llama" / "model.safetensors"))
    adapter = load_file(golden_bundle / "adapter.safetensors")
    assert same(adapter, load_file(splice / "delta.safetensors"))
    manifest = Manifest.read(golden_bundle)
    assert (manifest.fusion, manifest.text_tokenizer, manifest.gains) == ("sum", "clip", {})
    assert not manifest.imagebind.scale_audio


@pytest.mark.parametrize(
    ("save", "stem", "suffix"),
    [(save_file, "model", "safetensors"), (torch.save, "pytorch_model", "bin")],
    ids=["safetensors", "bin"],
)
def test_shards(
    golden_bundle: Path,
    source: Published,
    tmp_path: Path,
    save: Callable[[State, Path], None],
    stem: str,
    suffix: str,
) -> None:
    shard(source.vicuna, save, stem, suffix)
    out = run(source, tmp_path / "out")
    assert Manifest.read(out).llm_files == ["llm-00001.safetensors", "llm-00002.safetensors"]
    assert same(llm_state(out), llm_state(golden_bundle))
    assert load_bundle(out).name == "out"


def make_delta(source: Published, folder: Path) -> tuple[State, State]:
    """Base and delta of one more row (v0's [PAD]); the base becomes the source's Vicuna."""
    shutil.copytree(source.vicuna, folder)
    state = load_file(source.vicuna / "model.safetensors")
    delta = {key: torch.full_like(tensor, 0.25) for key, tensor in state.items()}
    for key in (EMBEDDING, HEAD):
        delta[key] = torch.cat([delta[key], torch.full_like(delta[key][:1], 0.5)])
    save_file(delta, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"vocab_size": config["vocab_size"] + 1})
    )
    return state, delta


def test_delta_is_added_and_its_own_row_kept(source: Published, tmp_path: Path) -> None:
    base, delta = make_delta(source, tmp_path / "delta")
    shard(source.vicuna, torch.save, "pytorch_model", "bin")
    out = run(source, tmp_path / "out", tmp_path / "delta")
    ours = llm_state(out)
    assert ours.keys() == base.keys()
    for key, tensor in ours.items():
        rows = len(base[key])
        expected = (base[key].float() + delta[key][:rows].float()).half()
        assert torch.equal(tensor[:rows], expected), key
    assert torch.equal(ours[HEAD][-1], delta[HEAD][-1])
    vocab_size = len(base[HEAD]) + 1
    assert load_bundle(out).llama.config.vocab_size == vocab_size


def test_a_delta_of_another_size_is_refused(source: Published, tmp_path: Path) -> None:
    _, delta = make_delta(source, tmp_path / "delta")
    config = json.loads((tmp_path / "delta" / "config.json").read_text())
    wide = {key: torch.cat([tensor, tensor], -1) for key, tensor in delta.items()}
    assert config["num_attention_heads"]
    save_file(wide, tmp_path / "delta" / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"delta/model\.safetensors: .* has shape"):
        run(source, tmp_path / "out", tmp_path / "delta")


def test_rotary_tables_of_old_files_are_left_out(
    golden_bundle: Path, source: Published, tmp_path: Path
) -> None:
    path = source.vicuna / "model.safetensors"
    table = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}
    save_file(load_file(path) | table, path)
    assert same(llm_state(run(source, tmp_path / "out")), llm_state(golden_bundle))


def test_balanced_bundles_undo_the_scales(source: Published, tmp_path: Path) -> None:
    model = load_bundle(run(source, tmp_path / "out", balance=True))
    items = {
        Modality.IMAGE: (3, 224, 224),
        Modality.AUDIO: (1, 128, 204),
        Modality.DEPTH: (1, 224, 224),
        Modality.THERMAL: (1, 224, 224),
        Modality.IMU: (6, 2000),
    }
    for modality, shape in items.items():
        embedding = model.embed_media(modality, torch.rand(1, *shape).numpy())
        embedding = embedding * model.gain_of(modality)
        assert embedding.norm() == pytest.approx(1, rel=1e-5), modality


def test_progress_reaches_the_end(golden_published: Published, tmp_path: Path) -> None:
    reports: list[tuple[str, int, int]] = []
    source = golden_published
    convert(
        source.imagebind,
        source.vicuna,
        None,
        source.pandagpt,
        tmp_path / "out",
        lambda file, done, total: reports.append((file, done, total)),
        imagebind_config=source.imagebind_config,
        lora_alpha=source.lora_alpha,
    )
    done = [report[1] for report in reports]
    assert done == sorted(done)
    assert reports[-1][1] == reports[-1][2]
    assert len({report[0] for report in reports}) == 3


def edit(path: Path, change: Callable[[State], State]) -> None:
    if path.suffix == ".safetensors":
        save_file(change(load_file(path)), path)
    else:
        torch.save(change(torch.load(path, weights_only=True)), path)


def without_first(state: State) -> State:
    return {key: state[key] for key in sorted(state)[1:]}


def with_extra(state: State) -> State:
    return state | {"something.else": torch.zeros(3)}


def with_short_first(state: State) -> State:
    first = min(state)
    return state | {first: state[first].detach().flatten()[:-1].clone()}


@pytest.mark.parametrize("part", ["imagebind", "vicuna", "pandagpt"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_first, "is missing|are missing"),
        (with_extra, r"something\.else has no place"),
        (with_short_first, "has shape"),
    ],
)
def test_every_tensor_has_its_place(
    source: Published,
    tmp_path: Path,
    part: str,
    change: Callable[[State], State],
    message: str,
) -> None:
    path: Path = getattr(source, part)
    path = path / "model.safetensors" if path.is_dir() else path
    edit(path, change)
    refused(source, tmp_path, path, message)


def refused(source: Published, tmp_path: Path, path: Path, message: str) -> None:
    """The error names the file, and nothing that looks like a bundle is left."""
    before = set(tmp_path.iterdir())
    with pytest.raises(CheckpointError, match=message) as caught:
        run(source, tmp_path / "out")
    assert path.name in str(caught.value)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("part", ["imagebind", "vicuna", "pandagpt"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.98])
def test_a_truncated_file_is_named(
    source: Published, tmp_path: Path, part: str, share: float
) -> None:
    path: Path = getattr(source, part)
    path = path / "model.safetensors" if path.is_dir() else path
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refused(
        source, tmp_path, path, "is not a whole safetensors file|cannot be read as plain weights"
    )


class _Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("/tmp/pandagpt-was-here"),)


def test_pickles_cannot_run_code(source: Published, tmp_path: Path) -> None:
    torch.save({"weight": _Bomb()}, source.pandagpt)
    refused(source, tmp_path, source.pandagpt, "cannot be read as plain weights")
    source.pandagpt.write_bytes(pickle.dumps(_Bomb()))
    refused(source, tmp_path, source.pandagpt, "cannot be read as plain weights")
    assert not Path("/tmp/pandagpt-was-here").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(2)], "holds a list, not a dict"),
        ({"state_dict": {"a": torch.zeros(2)}}, "state_dict is a dict, not a tensor"),
        ({"a": torch.zeros(2)}, "is it PandaGPT's adapter"),
    ],
)
def test_other_pickles_are_refused(
    source: Published, tmp_path: Path, content: object, message: str
) -> None:
    torch.save(content, source.pandagpt)
    refused(source, tmp_path, source.pandagpt, message)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, "cannot be read"),
        ("config.json", "{", "is not JSON"),
        ("config.json", "{}", "is not a LLaMA model's config"),
        ("tokenizer.model", None, "cannot be read"),
        ("tokenizer.model", "no tokenizer", "is not a SentencePiece model"),
        ("model.safetensors", None, "holds neither model.safetensors nor pytorch_model.bin"),
    ],
)
def test_the_language_model_s_folder(
    source: Published, tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    path = source.vicuna / name
    path.unlink()
    if content is not None:
        path.write_text(content)
    refused(source, tmp_path, path, message)


@pytest.mark.parametrize(
    ("field", "value"),
    [("rope_scaling", {"type": "linear"}), ("hidden_act", "gelu"), ("model_type", "gpt2")],
)
def test_other_architectures_are_refused(
    source: Published, tmp_path: Path, field: str, value: object
) -> None:
    path = source.vicuna / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    refused(source, tmp_path, path, f"{field} is .*; only .* is supported")


def test_a_missing_shard_is_named(source: Published, tmp_path: Path) -> None:
    shard(source.vicuna, save_file, "model", "safetensors")
    path = source.vicuna / "model-00002-of-00002.safetensors"
    path.unlink()
    refused(source, tmp_path, path, "is missing")


def test_a_key_in_two_shards_is_named(source: Published, tmp_path: Path) -> None:
    shard(source.vicuna, save_file, "model", "safetensors")
    first, second = (source.vicuna / f"model-0000{i}-of-00002.safetensors" for i in (1, 2))
    save_file(load_file(first) | load_file(second), second)
    refused(source, tmp_path, second, f"is also in {first.name}")


def test_an_existing_folder_is_left_alone(source: Published, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes").write_text("mine")
    with pytest.raises(CheckpointError, match="is there already"):
        run(source, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes"]


def test_interrupted_conversion_leaves_nothing(source: Published, tmp_path: Path) -> None:
    def stop(file: str, done: int, total: int) -> None:
        if file.startswith("llm"):
            raise KeyboardInterrupt

    before = set(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        convert(
            source.imagebind,
            source.vicuna,
            None,
            source.pandagpt,
            tmp_path / "out",
            stop,
            imagebind_config=source.imagebind_config,
            lora_alpha=source.lora_alpha,
        )
    assert set(tmp_path.iterdir()) == before
