"""Encoding: in batches by modality and shape, bounded in memory, failing item by item."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pandagpt.engine.encoder import EncodeJob, Encoder, MediaCache
from pandagpt.engine.request import MediaInput
from pandagpt.engine.watchdog import Watch
from pandagpt.errors import EngineFailure, PandaError
from pandagpt.media.modality import Modality
from pandagpt.model.pandagpt import PandaGPT

SHAPES = {
    Modality.IMAGE: (3, 224, 224),
    Modality.VIDEO: (15, 3, 2, 224, 224),
    Modality.AUDIO: (3, 1, 128, 204),
    Modality.DEPTH: (1, 224, 224),
    Modality.THERMAL: (1, 224, 224),
    Modality.IMU: (6, 2000),
}


def job(modality: Modality, seed: int = 0) -> EncodeJob:
    array = np.random.default_rng(seed).normal(size=SHAPES[modality]).astype(np.float32)
    digest = f"{modality}-{seed}"
    return EncodeJob(("", digest), MediaInput(modality, array, digest))


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Modality, int]]:
    """Modality and size of each batch that reaches the model."""
    seen = []
    embed_media = PandaGPT.embed_media

    def recorded(self: PandaGPT, modality: Modality, batch: np.ndarray) -> Tensor:
        seen.append((modality, len(batch)))
        return embed_media(self, modality, batch)

    monkeypatch.setattr(PandaGPT, "embed_media", recorded)
    return seen


def rows(model: PandaGPT, jobs: list[EncodeJob], max_batch: int = 8) -> dict[str, Tensor]:
    encoded = list(Encoder(model, max_batch).encode(jobs))
    assert not any(isinstance(one.row, PandaError) for one in encoded)
    return {one.key[1]: one.row for one in encoded if isinstance(one.row, Tensor)}


@pytest.mark.parametrize("modality", SHAPES)
def test_every_modality_becomes_a_row(model: PandaGPT, modality: Modality) -> None:
    (row,) = rows(model, [job(modality)]).values()
    assert row.shape == (model.encoders.imagebind.config.embed_dim,)


def test_its_work_is_watched(model: PandaGPT, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch begins anew, and ends even if it fails."""
    watch = Watch("encoder")
    embed_media = PandaGPT.embed_media
    seen = []

    def recorded(self: PandaGPT, modality: Modality, batch: np.ndarray) -> Tensor:
        seen.append(watch.since)
        if len(batch) > 1:
            raise RuntimeError("injected")
        return embed_media(self, modality, batch)

    monkeypatch.setattr(PandaGPT, "embed_media", recorded)
    for _ in Encoder(model, 2, watch).encode([job(Modality.IMAGE, seed) for seed in range(3)]):
        assert watch.since == math.inf
    assert len(seen) == 4
    assert seen == sorted(set(seen))
    assert seen[-1] < math.inf


def test_batches_hold_one_modality(model: PandaGPT, batches: list[tuple[Modality, int]]) -> None:
    mixed = [job(m, seed) for seed in range(3) for m in (Modality.IMAGE, Modality.IMU)]
    together = rows(model, mixed, max_batch=2)
    assert sorted(batches) == [
        (Modality.IMAGE, 1),
        (Modality.IMAGE, 2),
        (Modality.IMU, 1),
        (Modality.IMU, 2),
    ]
    for one in mixed:
        (alone,) = rows(model, [one]).values()
        torch.testing.assert_close(together[one.key[1]], alone)


def test_what_nobody_wants_is_not_encoded(
    model: PandaGPT, batches: list[tuple[Modality, int]]
) -> None:
    unwanted = job(Modality.IMAGE)
    unwanted.is_wanted = False
    assert rows(model, [unwanted]) == {}
    assert batches == []


def test_only_the_guilty_fails(model: PandaGPT, monkeypatch: pytest.MonkeyPatch) -> None:
    embed_media = PandaGPT.embed_media

    def broken(self: PandaGPT, modality: Modality, batch: np.ndarray) -> Tensor:
        if np.isnan(batch).any():
            raise RuntimeError("injected")
        return embed_media(self, modality, batch)

    monkeypatch.setattr(PandaGPT, "embed_media", broken)
    jobs = [job(Modality.IMU, seed) for seed in range(3)]
    jobs[1].media.array[0, 0] = np.nan
    encoded = {one.key: one.row for one in Encoder(model, 8).encode(jobs)}
    assert isinstance(encoded[jobs[1].key], EngineFailure)
    assert "injected" not in str(encoded[jobs[1].key])
    assert isinstance(encoded[jobs[0].key], Tensor)
    assert isinstance(encoded[jobs[2].key], Tensor)


def test_the_cache_forgets_what_was_longest_unused() -> None:
    cache = MediaCache(max_bytes=3 * 40)
    for name in ("a", "b", "c"):
        cache.put(("", name), torch.zeros(10))
    assert cache.get(("", "a")) is not None
    cache.put(("", "d"), torch.zeros(10))
    assert cache.get(("", "b")) is None
    assert cache.get(("", "a")) is not None
    assert cache.num_bytes == 120


def test_the_cache_counts_a_key_once() -> None:
    cache = MediaCache(max_bytes=100)
    for _ in range(5):
        cache.put(("", "a"), torch.zeros(10))
    assert cache.num_bytes == 40


def test_the_cache_keeps_callers_apart() -> None:
    cache = MediaCache(max_bytes=100)
    cache.put(("one", "a"), torch.zeros(10))
    assert cache.get(("two", "a")) is None


def test_a_cache_of_no_bytes_holds_nothing() -> None:
    cache = MediaCache(max_bytes=0)
    cache.put(("", "a"), torch.zeros(10))
    assert cache.get(("", "a")) is None
    assert cache.num_bytes == 0
