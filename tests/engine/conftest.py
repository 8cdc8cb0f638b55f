"""A whole PandaGPT with random weights: small, complete, made in a moment."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pandagpt.engine.runner import Runner
from pandagpt.media.text import TextTokenizer
from pandagpt.model.config import EncoderConfig, ImageBindConfig, LlamaConfig
from pandagpt.model.imagebind import ImageBind
from pandagpt.model.llama import Llama
from pandagpt.model.pandagpt import Encoders, PandaGPT
from pandagpt.model.tokenizer import SentencePieceTokenizer, Tokenizer

MAX_MODEL_LEN = 256


def random_llama(config: LlamaConfig, seed: int) -> Llama:
    llama = Llama(config)
    generator = torch.Generator().manual_seed(seed)
    weights = llama.weights().items()
    scale = {key: 1.0 if "embed_tokens" in key or "lm_head" in key else 0.2 for key, _ in weights}
    with torch.no_grad():
        for key, weight in weights:
            if key.endswith("norm.weight"):
                weight.fill_(1.0)
            else:
                weight.normal_(0.0, scale[key], generator=generator)
    return llama


@pytest.fixture(scope="session")
def tokenizer(golden: Path) -> Tokenizer:
    return SentencePieceTokenizer((golden / "splice" / "llama" / "tokenizer.model").read_bytes())


@pytest.fixture(scope="session")
def model(tokenizer: Tokenizer) -> PandaGPT:
    llama = LlamaConfig(
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        vocab_size=tokenizer.vocab_size,
        max_position_embeddings=MAX_MODEL_LEN,
    )
    encoder = EncoderConfig(width=16, num_blocks=1, num_heads=2)
    imagebind = ImageBindConfig(
        *[encoder] * 6, embed_dim=24, text_vocab_size=tokenizer.vocab_size, text_context_length=16
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        encoders = ImageBind(imagebind).eval()
        for parameter in encoders.parameters():
            nn.init.normal_(parameter)
        projection = nn.Linear(imagebind.embed_dim, llama.hidden_size)
        nn.init.normal_(projection.weight, std=3.0)
    reader = TextTokenizer.sentencepiece(tokenizer.encode, tokenizer.vocab_size, 16)
    return PandaGPT(
        "random",
        random_llama(llama, 2),
        tokenizer,
        MAX_MODEL_LEN,
        Encoders(encoders, projection, reader),
        "interleave",
    )


@pytest.fixture(params=[False, True], ids=["waits", "overlaps"])
def is_asynchronous(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """All promises hold also if a pass is launched before the tokens of the last one are told."""
    monkeypatch.setattr(Runner, "is_asynchronous", request.param)
    return request.param
