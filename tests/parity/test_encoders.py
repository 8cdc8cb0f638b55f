"""Our encoders against the reference's embeddings, in float32 and (the sharp check) float64."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from pandagpt.media.modality import Modality
from pandagpt.model.config import ImageBindConfig
from pandagpt.model.imagebind import ImageBind

TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-9}


def load(golden: Path, config: ImageBindConfig, dtype: torch.dtype) -> ImageBind:
    with torch.device("meta"):
        model = ImageBind(config)
    weights = load_file(golden / "imagebind_tiny.safetensors")
    model.load_state_dict({k: v.to(dtype) for k, v in weights.items()}, assign=True)
    return model.eval()


def case_names(io: dict[str, Tensor]) -> list[str]:
    return sorted(key.removesuffix(".embedding") for key in io if key.endswith(".embedding"))


def case_input(io: dict[str, Tensor], case: str) -> Tensor:
    """The stored forms of an input (the fixture's README); a still image is a video's frame."""
    if f"{case}.input_u8" in io:
        return (io[f"{case}.input_u8"].float() - 128) / 64
    if f"{case}.input_u8_half" in io:
        half = io[f"{case}.input_u8_half"].float()
        return (half.repeat_interleave(2, -1).repeat_interleave(2, -2) - 128) / 64
    if f"{case}.input_f16" in io:
        return io[f"{case}.input_f16"].float()
    if f"{case}.input_ids" in io:
        return io[f"{case}.input_ids"]
    return case_input(io, "vision_video")[:, 0, :, 0]


def case_modality(case: str) -> Modality:
    name = case.split("_")[0]
    return Modality.IMAGE if name == "vision" else Modality(name)


def relative_error(ours: Tensor, expected: Tensor) -> float:
    largest = expected.double().norm(dim=-1).max()
    return float((ours.double() - expected.double()).abs().max() / largest)


@pytest.fixture(scope="module")
def io(golden: Path) -> dict[str, Tensor]:
    return load_file(golden / "encoder_io.safetensors")


@torch.inference_mode()
@pytest.mark.parametrize(
    ("dtype", "expected", "scale_audio"),
    [
        (torch.float64, "embedding_f64", True),
        (torch.float32, "embedding", True),
        (torch.float32, "embedding_pandagpt", False),
    ],
)
def test_embeddings(
    golden: Path,
    golden_imagebind_config: ImageBindConfig,
    io: dict[str, Tensor],
    dtype: torch.dtype,
    expected: str,
    scale_audio: bool,
) -> None:
    model = load(golden, replace(golden_imagebind_config, scale_audio=scale_audio), dtype)
    errors = {}
    for case in case_names(io):
        inputs = case_input(io, case)
        inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
        ours = model.encode(case_modality(case), inputs)
        errors[case] = relative_error(ours, io[f"{case}.{expected}"])
    assert max(errors.values()) < TOLERANCE[dtype], errors


@torch.inference_mode()
def test_tokens_and_trunk(
    golden: Path, golden_imagebind_config: ImageBindConfig, io: dict[str, Tensor]
) -> None:
    """Where a difference would begin: after the stem, and after the trunk."""
    model = load(golden, golden_imagebind_config, torch.float32)
    for case in case_names(io):
        inputs, modality = case_input(io, case), case_modality(case)
        items = inputs.flatten(0, 1) if inputs.ndim >= 5 else inputs
        tokens = model.modality_preprocessors[modality.encoder](items)
        ends = torch.cat([tokens[:, :2], tokens[:, -2:]], dim=1)
        stored = io[f"{case}.debug_tokens_first2_last2"].reshape(ends.shape)
        assert torch.allclose(ends, stored, atol=1e-5), case
        pooled = io[f"{case}.debug_trunk_pooled"]
        assert torch.allclose(
            model.features(modality, items), pooled.reshape(len(items), -1), atol=1e-4
        )
