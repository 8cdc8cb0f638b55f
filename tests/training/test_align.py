"""Encoder training: its losses, its augmentation, and a whole run in miniature."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pandagpt.media.limits import MediaLimits
from pandagpt.media.loader import load
from pandagpt.media.modality import Modality
from pandagpt.media.options import MediaOptions
from pandagpt.model.config import ImageBindConfig
from pandagpt.model.imagebind import ImageBind
from pandagpt.model.tokenizer import SentencePieceTokenizer, Tokenizer
from pandagpt.training.align import EncoderPlan, new_encoders, train_encoders
from pandagpt.training.align_pictures import (
    MOVE_PIXELS,
    WordReader,
    embed_frames,
    film,
    fitting,
    without_places,
)
from pandagpt.training.align_senses import start_from_vision
from pandagpt.training.captions import Caption
from pandagpt.training.encoder_gate import embed_file
from pandagpt.training.fit import Plan, contrastive_loss, fit
from pandagpt.training.heldout import held_out
from pandagpt.training.renderings import COLUMNS, GROUPS, draw_pictures, word_target
from pandagpt.training.world.things import Placed, Scene

CPU = torch.device("cpu")
STEPS = Plan(2, batch_size=8)
MINIATURE = EncoderPlan(
    num_pictures=200,
    pair_share=0.5,
    num_camera_pictures=8,
    sounds_per_thing=1,
    sound_pairs=0,
    motions_per_thing=1,
    pictures=STEPS,
    depth=STEPS,
    thermal=STEPS,
    audio=STEPS,
    imu=STEPS,
)
RED_CAR = Scene((Placed("car", "red", "small", "left"),))


@pytest.fixture(scope="module")
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    golden: Path = request.getfixturevalue("golden")
    return SentencePieceTokenizer((golden / "splice" / "llama" / "tokenizer.model").read_bytes())


@pytest.fixture(scope="module")
def trained(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoders")
    train_encoders(folder, tokenizer, log=lambda line: None, plan=MINIATURE)
    return folder


def test_a_miniature_run_writes_encoders_that_load_and_read_files(trained: Path) -> None:
    config = ImageBindConfig.from_dict(json.loads((trained / "imagebind.json").read_text()))
    model = ImageBind(config)
    state = load_file(trained / "imagebind.safetensors")
    model.load_state_dict({key: value.float() for key, value in state.items()})
    for modality in (Modality.IMAGE, Modality.AUDIO, Modality.DEPTH, Modality.IMU):
        (item,) = held_out(modality, 1)
        embedding = embed_file(model, modality, item.data)
        assert embedding.shape == (config.embed_dim,)
        assert embedding.norm() == pytest.approx(1, abs=0.05)


def test_every_encoder_was_trained_and_no_scale_was(trained: Path, tokenizer: Tokenizer) -> None:
    state = load_file(trained / "imagebind.safetensors")
    before = new_encoders(tokenizer.vocab_size).state_dict()
    for name in ("vision", "text", "depth", "thermal", "audio", "imu"):
        heads = [key for key in state if f"heads.{name}." in key and key.endswith("weight")]
        assert any((state[key] != before[key].half()).any() for key in heads), name
    assert all(state[key] == 0 for key in state if key.endswith("log_logit_scale"))


def test_what_training_embeds_is_what_a_file_embeds(tokenizer: Tokenizer) -> None:
    """Pooled bytes in two frames, or the file through the loader: the same embedding."""
    model = new_encoders(tokenizer.vocab_size)
    pictures = draw_pictures(1, 0.0, seed=3)
    (item,) = held_out(Modality.IMAGE, 1)
    array = load(Modality.IMAGE, item.data, MediaOptions(), MediaLimits())
    doubled = np.repeat(pictures.pixels[:, :, None], 2, axis=2)
    with torch.no_grad():
        still = embed_frames(model, pictures.pixels, CPU)
        torch.testing.assert_close(embed_frames(model, doubled, CPU), still, atol=1e-5, rtol=0)
        whole = torch.from_numpy(array[None])
        pooled = model.encode(Modality.IMAGE, model.pool(Modality.IMAGE, whole), pooled=True)
        torch.testing.assert_close(model.encode(Modality.IMAGE, whole), pooled)


def test_a_camera_starts_with_the_image_encoders_view_of_grey(tokenizer: Tokenizer) -> None:
    model = new_encoders(tokenizer.vocab_size)
    start_from_vision(model, "depth")
    stem = model.modality_preprocessors["depth"].get_submodule("depth_stem")
    vision = model.modality_preprocessors["vision"].get_submodule("rgbt_stem")
    grey = torch.rand(1, 1, 56, 56)
    torch.testing.assert_close(
        stem.get_submodule("layers.0")(grey),
        vision.get_submodule("layers.0")(grey.expand(1, 3, 56, 56)),
    )


def test_a_journeys_middle_is_the_picture_itself() -> None:
    pixels = np.zeros((64, 3, 56, 56), np.uint8)
    pixels[:, :, 28, 28] = 255
    frames, strayed = film(pixels, np.random.default_rng(0))
    places = np.argwhere(frames[:, 0] == 255)[:, 2:].reshape(64, 2, 2)
    assert np.abs(places.mean(1)[~strayed] - 28).max() <= 1
    assert np.abs(places[:, 0] - places[:, 1]).max() > MOVE_PIXELS


def test_a_strayed_picture_has_no_position_to_learn() -> None:
    words = np.stack([word_target(RED_CAR)] * 2)
    kept, lost = without_places(words, np.array([False, True]))
    assert (kept == words[0]).all()
    assert lost[GROUPS["position"].columns].sum() == 0
    assert lost[COLUMNS["car"]] == 1


def test_a_caption_fits_every_picture_that_has_its_words() -> None:
    blue = Scene((Placed("car", "blue", "large", "left"),))
    words = torch.from_numpy(np.stack([word_target(RED_CAR), word_target(blue)]))
    captions = [Caption("", frozenset({"car"})), Caption("", frozenset({"car", "red car"}))]
    assert fitting(captions, words).tolist() == [[True, True], [True, False]]


def test_contrast_is_lowest_when_each_finds_its_own() -> None:
    own = torch.eye(4, dtype=torch.bool)
    found = contrastive_loss(20 * torch.eye(4), own)
    assert found < 1e-3 < contrastive_loss(20 * torch.eye(4).roll(1, 0), own)


def test_fitting_lets_a_reader_read() -> None:
    torch.manual_seed(0)
    words = torch.from_numpy(draw_pictures(30, 0.0, seed=1).words)
    embedding = torch.nn.functional.normalize(words @ torch.randn(words.shape[1], 128), dim=1)
    reader = WordReader(128)
    before = reader.loss(embedding, words).item()
    plan = Plan(30, peak_lr=1e-2)
    fit(list(reader.parameters()), plan, lambda: reader.loss(embedding, words), lambda *_: None)
    assert reader.loss(embedding, words).item() < 0.2 * before
