"""Preprocessing against the reference's tensors, at the golden set's stated tolerances."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from pandagpt.media.clips import clip_frames, clip_samples
from pandagpt.media.container import FILM_CODECS, open_container
from pandagpt.media.fbank import SAMPLE_RATE_HZ
from pandagpt.media.film import Film
from pandagpt.media.limits import MediaLimits
from pandagpt.media.loader import load
from pandagpt.media.modality import Modality
from pandagpt.media.options import MediaOptions
from pandagpt.media.resample import resample
from pandagpt.media.sniff import sniff
from pandagpt.media.sound import decode_sound

LIMITS = MediaLimits()
Case = tuple[str, dict[str, Any]]


@pytest.fixture
def folder(golden: Path) -> Path:
    return golden / "preprocess_io"


def cases(folder: Path, tensor: str) -> list[Case]:
    """Every file of the set for which `tensor` is stored, and what is said about it."""
    meta: dict[str, dict[str, Any]] = json.loads((folder / "preprocess_meta.json").read_text())
    found = [(name, facts) for name, facts in meta.items() if tensor in facts["tensors"]]
    assert found, f"the golden set has no {tensor}"
    return found


def loaded(folder: Path, name: str, modality: Modality) -> np.ndarray:
    return load(modality, (folder / name).read_bytes(), MediaOptions(), LIMITS)


def expected(folder: Path, name: str) -> dict[str, np.ndarray]:
    return load_file(folder / f"{name}.safetensors")


def assert_close(actual: np.ndarray, wanted: np.ndarray, tolerance: float) -> None:
    assert actual.shape == wanted.shape
    assert np.abs(actual - wanted.astype(np.float32)).max() <= tolerance


def test_images(folder: Path) -> None:
    for name, _ in cases(folder, "pixels_f16"):
        pixels, wanted = loaded(folder, name, Modality.IMAGE), expected(folder, name)
        assert_close(pixels[None], wanted["pixels_f16"], 2e-3)
        assert_close(pixels[None, :, 112], wanted["pixels_row112"], 1e-5)


def test_thermal(folder: Path) -> None:
    for name, _ in cases(folder, "pixels_u8"):
        wanted = expected(folder, name)["pixels_u8"].astype(np.float32) / 255
        assert_close(loaded(folder, name, Modality.THERMAL)[None], wanted, 1 / 255 + 1e-6)


def test_spectrograms(folder: Path) -> None:
    for name, facts in cases(folder, "mel_f16"):
        mel, wanted = loaded(folder, name, Modality.AUDIO), expected(folder, name)
        assert [1, *mel.shape] == facts["full_shape"]
        assert_close(mel[None], wanted["mel_f16"], 2e-3)
        assert_close(mel[:, 0].mean(axis=-1), wanted["mel_mean_per_bin"], 5e-4)


def test_resampling(folder: Path) -> None:
    for name, facts in cases(folder, "resampled_16k_first4000"):
        wave, rate_hz = decode_sound((folder / name).read_bytes(), LIMITS)
        resampled, wanted = resample(wave, rate_hz, SAMPLE_RATE_HZ), expected(folder, name)
        assert rate_hz == facts["sample_rate"]
        assert resampled.shape[1] == facts["resampled_samples"]
        assert_close(resampled[:, :4000], wanted["resampled_16k_first4000"], 2e-5)
        assert_close(resampled[:, -500:], wanted["resampled_16k_last500"], 2e-5)


def test_clip_samples(folder: Path) -> None:
    for _, facts in cases(folder, "mel_f16"):
        clips = clip_samples(facts["resampled_samples"], SAMPLE_RATE_HZ, len(facts["clip_samples"]))
        assert [list(clip) for clip in clips] == facts["clip_samples"]


def test_clip_frames(folder: Path) -> None:
    for _, facts in cases(folder, "pixels_grid"):
        clips = clip_frames(facts["frames"], facts["fps"], len(facts["frame_indices"]))
        assert [list(clip) for clip in clips] == facts["frame_indices"]


def test_videos(folder: Path) -> None:
    for name, facts in cases(folder, "pixels_grid"):
        views, wanted = loaded(folder, name, Modality.VIDEO)[None], expected(folder, name)
        assert list(views.shape) == facts["full_shape"]
        assert_close(views[..., 3::7, 3::7], wanted["pixels_grid"], 0.02)
        assert_close(views.mean(axis=(-2, -1)), wanted["view_mean"], 5e-3)
        assert_close(views.std(axis=(-2, -1)), wanted["view_std"], 5e-3)


def test_decoded_frames(folder: Path) -> None:
    for name, facts in cases(folder, "decoded_first_and_last_u8"):
        data, wanted = (folder / name).read_bytes(), expected(folder, name)
        kind = sniff(data)
        with open_container(data, kind, FILM_CODECS, LIMITS.max_video_frame_pixels) as container:
            film = Film(container, kind, LIMITS)
            assert (film.num_frames, film.fps) == (facts["frames"], facts["fps"])
            frames = np.stack(list(film.frames([0, film.num_frames - 1])))
        assert_close(frames.astype(np.float32), wanted["decoded_first_and_last_u8"], 2)
