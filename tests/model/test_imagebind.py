"""Key names against the published checkpoint, and the rules that no golden case reaches."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pandagpt.errors import InvalidValue
from pandagpt.media.modality import Modality
from pandagpt.model.config import ConvLayer, EncoderConfig, ImageBindConfig, StemConfig
from pandagpt.model.imagebind import ImageBind

TINY = ImageBindConfig(
    *(EncoderConfig(16, 2, 2) for _ in range(6)), embed_dim=8, text_vocab_size=50
)
PICTURE_STEM = StemConfig(
    "conv", pool=4, layers=(ConvLayer(6, 3, 2, 1), ConvLayer(8, 3, 2, 1), ConvLayer(10, 3, 2, 1))
)
IMU_STEM = StemConfig("conv", pool=2, layers=(ConvLayer(8, 10, 10, 0), ConvLayer(8, 4, 2, 1)))
CONV = replace(
    TINY,
    vision=EncoderConfig(16, 2, 2, PICTURE_STEM),
    audio=EncoderConfig(16, 2, 2, replace(PICTURE_STEM, pool=1)),
    depth=EncoderConfig(16, 2, 2, replace(PICTURE_STEM, standardize=True)),
    imu=EncoderConfig(16, 2, 2, IMU_STEM),
)
INPUTS = {
    Modality.IMAGE: (3, 224, 224),
    Modality.VIDEO: (2, 3, 2, 224, 224),
    Modality.AUDIO: (3, 1, 128, 204),
    Modality.DEPTH: (1, 224, 224),
    Modality.THERMAL: (1, 224, 224),
    Modality.IMU: (6, 2000),
}


@pytest.fixture
def build() -> type[ImageBind]:
    torch.manual_seed(0)
    return ImageBind


def published_keys() -> dict[str, tuple[tuple[int, ...], str]]:
    table = (Path(__file__).parent / "imagebind_huge_keys.tsv").read_text().splitlines()
    return {
        row["key"]: (shape(row["shape"]), row["kind"])
        for row in csv.DictReader(table, delimiter="\t")
    }


def shape(text: str) -> tuple[int, ...]:
    return () if text == "scalar" else tuple(int(n) for n in text.split("x"))


def test_state_dict_of_the_huge_model_is_the_published_one() -> None:
    with torch.device("meta"):
        model = ImageBind(ImageBindConfig())
    parameters = dict(model.named_parameters())
    ours = {
        key: (tuple(value.shape), "parameter" if key in parameters else "buffer")
        for key, value in model.state_dict().items()
    }
    assert ours == published_keys()


def test_published_shapes_load_strictly() -> None:
    with torch.device("meta"):
        model = ImageBind(ImageBindConfig())
        weights = {key: torch.empty(shape) for key, (shape, _) in published_keys().items()}
    model.load_state_dict(weights, strict=True, assign=True)


@torch.inference_mode()
@pytest.mark.parametrize("config", [TINY, CONV], ids=["patch", "conv"])
def test_every_modality_gives_one_vector_an_item(
    build: type[ImageBind], config: ImageBindConfig
) -> None:
    model = build(config).eval()
    for modality, item in INPUTS.items():
        assert model.encode(modality, torch.randn(2, *item)).shape == (2, 8), modality


@torch.inference_mode()
def test_batched_equals_alone(build: type[ImageBind]) -> None:
    model = build(CONV).eval().double()
    for modality, item in INPUTS.items():
        inputs = torch.randn(3, *item, dtype=torch.float64)
        together = model.encode(modality, inputs)
        alone = torch.cat([model.encode(modality, one[None]) for one in inputs])
        assert torch.allclose(together, alone, atol=1e-12), modality


@torch.inference_mode()
def test_a_still_image_is_its_frame_twice(build: type[ImageBind]) -> None:
    image = torch.randn(2, 3, 224, 224, dtype=torch.float64)
    video = image[:, None, :, None].expand(-1, 1, -1, 2, -1, -1)
    for config in (TINY, CONV):
        model = build(config).eval().double()
        still, moving = (
            model.encode(Modality.IMAGE, image),
            model.encode(Modality.VIDEO, video),
        )
        assert torch.allclose(still, moving, atol=1e-12)


@torch.inference_mode()
def test_pooled_inputs_give_the_same_embedding(build: type[ImageBind]) -> None:
    model = build(CONV).eval()
    for modality in (Modality.IMAGE, Modality.DEPTH, Modality.IMU):
        inputs = torch.randn(2, *INPUTS[modality])
        pooled = model.pool(modality, inputs)
        assert pooled.numel() < inputs.numel()
        again = model.encode(modality, pooled, pooled=True)
        assert torch.equal(again, model.encode(modality, inputs))


@torch.inference_mode()
def test_standardised_stem_ignores_brightness_and_contrast(build: type[ImageBind]) -> None:
    model = build(CONV).eval().double()
    depth = torch.rand(2, 1, 224, 224, dtype=torch.float64) * 10
    plain = model.encode(Modality.DEPTH, depth)
    assert torch.allclose(plain, model.encode(Modality.DEPTH, 3 * depth + 7), atol=1e-3)


@torch.inference_mode()
def test_clips_are_averaged_after_scaling(build: type[ImageBind]) -> None:
    model = build(TINY).eval().double()
    clips = torch.randn(2, 3, 1, 128, 204, dtype=torch.float64)
    one_by_one = torch.stack([model.encode(Modality.AUDIO, clips[:, i]) for i in range(3)])
    assert torch.allclose(model.encode(Modality.AUDIO, clips), one_by_one.mean(0), atol=1e-12)


@torch.inference_mode()
@pytest.mark.parametrize(("stored", "norm"), [(math.log(7.0), 7.0), (math.log(500.0), 100.0)])
def test_logit_scale_is_read_and_capped(build: type[ImageBind], stored: float, norm: float) -> None:
    model = build(TINY).eval()
    scale = model.get_submodule("modality_postprocessors.thermal.1")
    scale.load_state_dict({"log_logit_scale": torch.tensor(stored)})
    embedding = model.encode(Modality.THERMAL, torch.randn(1, 1, 224, 224))
    assert embedding.norm() == pytest.approx(norm, rel=1e-5)


@torch.inference_mode()
def test_audio_without_its_scale_is_a_unit_vector(build: type[ImageBind]) -> None:
    clip = torch.randn(1, 1, 128, 204)
    for scaled, norm in ((True, 20.0), (False, 1.0)):
        model = build(replace(TINY, scale_audio=scaled)).eval()
        assert model.encode(Modality.AUDIO, clip).norm() == pytest.approx(norm, rel=1e-5)


def text(*ids: int) -> Tensor:
    return torch.tensor([[*ids, *[0] * (77 - len(ids))]])


@torch.inference_mode()
def test_text_is_pooled_at_the_first_largest_id(build: type[ImageBind]) -> None:
    model = build(TINY).eval().double()
    ends_once, ends_twice = text(1, 5, 49), text(1, 5, 49, 7, 49, 3)
    other_text = text(1, 6, 49)
    once, twice = (model.encode(Modality.TEXT, ids) for ids in (ends_once, ends_twice))
    assert torch.allclose(once, twice, atol=1e-12)
    assert not torch.allclose(once, model.encode(Modality.TEXT, other_text), atol=1e-3)


@torch.inference_mode()
def test_only_square_images_may_have_another_size(build: type[ImageBind]) -> None:
    model = build(TINY).eval()
    assert model.encode(Modality.IMAGE, torch.randn(1, 3, 112, 112)).shape == (1, 8)
    with pytest.raises(InvalidValue, match=r"vision input of size \(112, 224\)"):
        model.encode(Modality.IMAGE, torch.randn(1, 3, 112, 224))
    with pytest.raises(InvalidValue, match="thermal"):
        model.encode(Modality.THERMAL, torch.randn(1, 1, 112, 112))


@torch.inference_mode()
def test_positions_are_resized_in_bfloat16_too(build: type[ImageBind]) -> None:
    model = build(TINY).eval()
    image = torch.randn(1, 3, 112, 112)
    exact = model.encode(Modality.IMAGE, image)
    rounded = model.bfloat16().encode(Modality.IMAGE, image.bfloat16())
    assert torch.allclose(exact, rounded.float(), atol=0.05)


def test_every_parameter_learns(build: type[ImageBind]) -> None:
    """Training relies on it: no parameter of a convolutional encoder is cut off."""
    model = build(CONV)
    for modality, item in INPUTS.items():
        model.encode(modality, torch.randn(2, *item))[:, 0].sum().backward()
    model.encode(Modality.TEXT, text(1, 5, 49))[:, 0].sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
