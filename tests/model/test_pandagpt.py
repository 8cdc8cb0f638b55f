"""The model as the engine sees it: embeddings, and prompts with media in their slots."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pandagpt.media.modality import Modality
from pandagpt.model.checkpoint import load_bundle
from pandagpt.model.pandagpt import PandaGPT
from pandagpt.model.prompt import MediaSlot, Prompt

SHAPES = {
    Modality.IMAGE: (3, 224, 224),
    Modality.VIDEO: (2, 3, 2, 224, 224),
    Modality.AUDIO: (3, 1, 128, 204),
    Modality.DEPTH: (1, 224, 224),
    Modality.THERMAL: (1, 224, 224),
    Modality.IMU: (6, 2000),
}


@pytest.fixture(scope="module")
def model(golden_bundle: Path) -> PandaGPT:
    return load_bundle(golden_bundle)


def random_batch(modality: Modality, size: int = 2) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.standard_normal((size, *SHAPES[modality])).astype(np.float32)


@pytest.mark.parametrize("modality", SHAPES)
def test_each_medium_becomes_one_row(model: PandaGPT, modality: Modality) -> None:
    batch = random_batch(modality)
    batch.flags.writeable = False  # as arrays out of a cache or a message are
    embedding = model.embed_media(modality, batch)
    assert embedding.shape == (2, model.encoders.projection.in_features)
    assert model.project(embedding).shape == (2, model.llama.config.hidden_size)


def test_text_is_embedded_by_its_own_tokenizer(model: PandaGPT) -> None:
    rows = np.stack(
        [model.encoders.text_tokenizer.encode(text) for text in ("a dog", "a cat", "A  dog ")]
    )
    dog, cat, same_dog = model.embed_media(Modality.TEXT, rows)
    assert torch.allclose(dog, same_dog, atol=1e-5)
    assert not torch.allclose(dog, cat, atol=1e-3)


def test_slots_hold_the_sum_of_their_media(model: PandaGPT) -> None:
    ids = (1, 5, 0, 7, 0)
    prompt = Prompt(ids, ((2, MediaSlot((0, 2))), (4, MediaSlot((1,)))))
    embeddings = torch.randn(3, model.encoders.imagebind.config.embed_dim)
    rows = model.project(embeddings)
    embeds = model.embed_prompt(prompt, list(embeddings))
    assert torch.equal(embeds[[0, 1, 3]], model.llama.embed(torch.tensor([1, 5, 7])))
    assert torch.allclose(embeds[2], rows[0] + rows[2])
    assert torch.equal(embeds[4], rows[1])


def test_a_prompt_without_media(model: PandaGPT) -> None:
    embeds = model.embed_prompt(Prompt((1, 5, 7)), [])
    assert torch.equal(embeds, model.llama.embed(torch.tensor([1, 5, 7])))
