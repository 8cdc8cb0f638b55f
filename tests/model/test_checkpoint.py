"""Bundles: what is written loads again; whatever is wrong is refused and named."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pandagpt.errors import CheckpointError
from pandagpt.model import checkpoint
from pandagpt.model.checkpoint import BundleWriter, load_bundle, write_bundle
from pandagpt.model.config import LlamaConfig
from pandagpt.model.cuda.decoder import CudaLlama
from pandagpt.model.device import Placement
from pandagpt.model.folder import BUNDLED, resolve_folder
from pandagpt.model.llama import Llama
from pandagpt.model.manifest import LLM_FILE, FileFacts, Manifest
from pandagpt.model.pandagpt import PandaGPT
from pandagpt.model.tensor_files import TensorFiles


@pytest.fixture
def bundle(golden_bundle: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(golden_bundle, tmp_path / "bundle"))


def rewrite(bundle: Path, **changes: object) -> None:
    manifest = replace(Manifest.read(bundle), **changes)
    manifest.write(bundle)


def resign(bundle: Path) -> None:
    """As if the changed files had been the bundle's own from the start."""
    names = Manifest.read(bundle).files
    rewrite(bundle, files={name: FileFacts.of(bundle / name) for name in names})


def torch_llama(model: PandaGPT) -> Llama:
    assert isinstance(model.llama, Llama)
    return model.llama


def test_loads_with_lora_merged(golden_bundle: Path, golden: Path) -> None:
    model = load_bundle(golden_bundle)
    assert model.name == golden_bundle.name
    assert (model.device.type, model.dtype) == ("cpu", torch.float32)
    key = "model.layers.1.self_attn.v_proj.weight"
    base = load_file(golden / "splice" / "llama" / "model.safetensors")[key].float()
    adapter = load_file(golden / "splice" / "delta.safetensors")
    prefix = f"llama_model.base_model.model.{key.removesuffix('weight')}lora_"
    a, b = (adapter[f"{prefix}{part}.default.weight"].float() for part in "AB")
    lora = Manifest.read(golden_bundle).lora
    assert lora is not None
    expected = base + lora.alpha / lora.r * (b @ a)
    assert torch.allclose(torch_llama(model).weights()[key], expected, atol=1e-6)


def test_every_encoder_weight_is_the_source_s(golden_bundle: Path, golden: Path) -> None:
    ours = load_bundle(golden_bundle).encoders.imagebind.state_dict()
    source = load_file(golden / "imagebind_tiny.safetensors")
    assert ours.keys() == source.keys()
    assert all(torch.equal(ours[key], source[key].float()) for key in source)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtype_is_honoured_but_logit_scales_stay_exact(
    golden_bundle: Path, dtype: torch.dtype
) -> None:
    model = load_bundle(golden_bundle, Placement(dtype=dtype))
    assert model.dtype == torch_llama(model).dtype == dtype
    for key, tensor in model.encoders.imagebind.state_dict().items():
        assert tensor.dtype == (dtype if tensor.ndim else max_precision(dtype)), key


def max_precision(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def test_nothing_learns_or_drops_out(golden_bundle: Path) -> None:
    model = load_bundle(golden_bundle)
    assert not model.encoders.imagebind.training
    modules = (model.encoders.imagebind, model.encoders.projection, torch_llama(model))
    assert not any(p.requires_grad for module in modules for p in module.parameters())


def test_loaded_model_outlives_its_files(bundle: Path) -> None:
    """Weights are copied out of the mapped files: a bundle may be replaced while it serves."""
    model = load_bundle(bundle, Placement(dtype=torch.float16))
    before = {key: value.clone() for key, value in model.encoders.imagebind.state_dict().items()}
    path = bundle / "imagebind.safetensors"
    with path.open("r+b") as file:
        file.write(b"\xff" * path.stat().st_size)
    assert all(torch.equal(v, before[k]) for k, v in model.encoders.imagebind.state_dict().items())


@pytest.mark.parametrize(
    "name", ["imagebind.safetensors", "llm.safetensors", "adapter.safetensors", "tokenizer.model"]
)
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data[: len(data) // 2], "bytes, the manifest says"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "the manifest says"),
        (lambda data: b"", "has 0 bytes"),
    ],
    ids=["truncated", "one bit", "empty"],
)
def test_a_spoiled_file_is_named(
    bundle: Path, name: str, spoil: Callable[[bytes], bytes], message: str
) -> None:
    path = bundle / name
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(CheckpointError, match=message) as caught:
        load_bundle(bundle)
    assert caught.value.path == path


def test_a_missing_file_is_named(bundle: Path) -> None:
    (bundle / "adapter.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"adapter\.safetensors: is missing"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    "name", ["imagebind.safetensors", "llm.safetensors", "adapter.safetensors"]
)
def test_every_tensor_has_its_place(bundle: Path, name: str) -> None:
    """Even where all digests are right."""
    path = bundle / name
    state = load_file(path)
    key = next(key for key in sorted(state) if state[key].ndim == 2)
    spoiled = {
        f"{key}.more has no place": state | {f"{key}.more": torch.zeros(2)},
        f"1 tensors are missing, the first is {key}": {k: v for k, v in state.items() if k != key},
        f"{key} has shape": state | {key: state[key][:-1].clone()},
    }
    for message, tensors in spoiled.items():
        save_file(tensors, path)
        resign(bundle)
        with pytest.raises(CheckpointError, match=message) as caught:
            load_bundle(bundle)
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a bundle's manifest"),
        ("[]", "is not a bundle's manifest"),
        ("{}", "is not a bundle's manifest"),
        ('{"format": 2}', "format 2; this version reads 1"),
    ],
)
def test_a_strange_manifest_is_refused(bundle: Path, text: str, message: str) -> None:
    (bundle / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        load_bundle(bundle)


def test_a_changed_digit_in_the_manifest_is_found(bundle: Path) -> None:
    path = bundle / "manifest.json"
    text = path.read_text()
    assert '"rms_norm_eps": 1e-06' in text
    path.write_text(text.replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'))
    with pytest.raises(CheckpointError, match="its seal says"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusion": "average"}, "'average' is none of sum, interleave"),
        ({"text_tokenizer": "words"}, "'words' is none of clip, sentencepiece"),
        ({"text_tokenizer": "sentencepiece"}, "texts end with id"),
    ],
)
def test_facts_that_do_not_fit_are_refused(
    bundle: Path, changes: dict[str, object], message: str
) -> None:
    rewrite(bundle, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_bundle(bundle)


@pytest.mark.parametrize("name", ["../imagebind.safetensors", "a/b"])
def test_file_names_stay_in_the_folder(bundle: Path, name: str) -> None:
    rewrite(bundle, files=dict(Manifest.read(bundle).files) | {name: FileFacts(1, "0")})
    with pytest.raises(CheckpointError, match="not a plain file name"):
        load_bundle(bundle)


@pytest.mark.parametrize("name", ["imagebind.safetensors", "llm.safetensors"])
def test_unlisted_weights_are_not_loaded(bundle: Path, name: str) -> None:
    """What the manifest does not list has no digest."""
    files = {key: facts for key, facts in Manifest.read(bundle).files.items() if key != name}
    rewrite(bundle, files=files)
    with pytest.raises(CheckpointError, match=r"does not list|lists no"):
        load_bundle(bundle)


def test_the_model_card_may_change(bundle: Path) -> None:
    (bundle / "README.md").write_text("measured: 0.97")
    assert load_bundle(bundle).name


def write_again(
    golden_bundle: Path, out: Path, *, overwrite: bool = False, noise: float = 0
) -> None:
    def read(part: str) -> dict[str, torch.Tensor]:
        state = load_file(golden_bundle / f"{part}.safetensors")
        return {key: tensor.float() + noise for key, tensor in state.items()}

    write_bundle(
        out,
        Manifest.read(golden_bundle),
        imagebind=read("imagebind"),
        llm=read("llm"),
        adapter=read("adapter"),
        tokenizer=(golden_bundle / "tokenizer.model").read_bytes(),
        model_card="# again",
        overwrite=overwrite,
    )


def test_written_state_dicts_load_again(golden_bundle: Path, tmp_path: Path) -> None:
    write_again(golden_bundle, tmp_path / "again")
    before, after = load_bundle(golden_bundle), load_bundle(tmp_path / "again")
    for ours, theirs in (
        (after.encoders.imagebind, before.encoders.imagebind),
        (torch_llama(after), torch_llama(before)),
    ):
        for key, tensor in ours.state_dict().items():
            assert torch.equal(tensor, theirs.state_dict()[key]), key


def test_float16_only_where_nothing_is_lost(golden_bundle: Path, tmp_path: Path) -> None:
    write_again(golden_bundle, tmp_path / "exact")
    write_again(golden_bundle, tmp_path / "noisy", noise=1e-5)
    key = "model.norm.weight"
    assert load_file(tmp_path / "exact" / "llm.safetensors")[key].dtype == torch.float16
    assert load_file(tmp_path / "noisy" / "llm.safetensors")[key].dtype == torch.float32


def test_a_bundle_is_replaced_only_if_asked(golden_bundle: Path, tmp_path: Path) -> None:
    write_again(golden_bundle, tmp_path / "twice")
    with pytest.raises(CheckpointError, match="is there already"):
        write_again(golden_bundle, tmp_path / "twice")
    write_again(golden_bundle, tmp_path / "twice", overwrite=True)
    assert load_bundle(tmp_path / "twice").name


def test_unfinished_output_leaves_nothing(tmp_path: Path) -> None:
    def read(key: str) -> torch.Tensor:
        assert not (tmp_path / "half").exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), BundleWriter(tmp_path / "half") as writer:
        writer.weights("llm.safetensors", {"a": (2,)}, read)
    assert list(tmp_path.iterdir()) == []


def test_values_beyond_float16_are_refused(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "big") as writer, pytest.raises(CheckpointError, match="a holds"):
        writer.weights("llm.safetensors", {"a": (1,)}, lambda key: torch.tensor([70000.0]))


def test_resolving_a_model(
    golden_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUNDLED, "tiny", golden_bundle)
    assert resolve_folder("tiny") == golden_bundle
    assert resolve_folder(str(golden_bundle)) == golden_bundle
    for wrong in (str(tmp_path), "vicuna-99b"):
        with pytest.raises(CheckpointError, match=r"holds no manifest.json.*\(tiny\)"):
            resolve_folder(wrong)


def test_manifest_is_json_that_other_tools_can_read(golden_bundle: Path) -> None:
    data = json.loads((golden_bundle / "manifest.json").read_text())
    assert data["format"] == 1
    assert data["files"]["llm.safetensors"]["bytes"] == (
        (golden_bundle / "llm.safetensors").stat().st_size
    )
    assert Manifest.from_dict(data) == Manifest.read(golden_bundle)


@pytest.mark.parametrize("captures", [True, False])
def test_steps_on_a_gpu_are_captured_unless_that_is_switched_off(
    captures: bool, golden_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnThisCpu(CudaLlama):
        def __init__(self, config: LlamaConfig, device: str, dtype: torch.dtype) -> None:
            super().__init__(config, "cpu", dtype)

    monkeypatch.setattr(checkpoint, "CudaLlama", OnThisCpu)
    monkeypatch.setattr(checkpoint, "Llama", lambda config, device, dtype: Llama(config))
    config = Manifest.read(golden_bundle).llama
    state = TensorFiles([golden_bundle / LLM_FILE])
    made = checkpoint.new_decoder(config, state, Placement("cuda", captures=captures))
    assert isinstance(made, CudaLlama) == captures
