"""The model that all servers share: a random LLaMA with a trained tokenizer, made once and kept.

Values are exact in float16 and stored as float32, so that no server loses anything whichever
of the two it computes in. Rows of the head are zero for the end token, so that greedy answers
run to their limit on servers that know no `ignore_eos`, and for bytes beyond ASCII, since
servers hold back half a character. The other matrices are large enough to outweigh the
embedding, or a tied model would repeat its last token for ever.
"""

import random
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import sentencepiece
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.bench.peers.vocabulary import word, write_tokenizer

VOCAB_SIZE = 32_000
MAX_LEN = 2048
NEVER_SAID = [2, *range(3 + 0x80, 3 + 0x100)]


@dataclass(frozen=True, slots=True)
class Size:
    hidden: int
    layers: int
    heads: int
    inner: int
    is_tied: bool
    vocab_size: int = VOCAB_SIZE


SIZES = {
    "toy": Size(64, 2, 2, 160, is_tied=True, vocab_size=1_000),
    "S": Size(288, 6, 9, 768, is_tied=True),
    "M": Size(768, 12, 12, 2048, is_tied=False),
}


@dataclass(frozen=True, slots=True)
class Folder:
    """A Hugging Face folder, and text whose length in its tokens is known."""

    path: Path

    def prompt(self, num_tokens: int, seed: int) -> str:
        """Different for each seed; `num_tokens` with the template's line break and BOS."""
        generator, tokenizer = random.Random(seed), _tokenizer(self.path)
        text = word(generator)
        while len(tokenizer.encode(text + "\n")) + 1 < num_tokens:
            text += " " + word(generator)
        return text


@cache
def _tokenizer(folder: Path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(str(folder / "tokenizer.model"))


def make(size: str, cache: Path) -> Folder:
    path = cache / f"llama-{size}"
    if not (path / "done").exists():
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        write_tokenizer(path, SIZES[size].vocab_size)
        _write_model(path, SIZES[size])
        (path / "done").touch()
    return Folder(path)


def _write_model(path: Path, size: Size) -> None:
    config = LlamaConfig(
        hidden_size=size.hidden,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        vocab_size=size.vocab_size,
        max_position_embeddings=MAX_LEN,
        tie_word_embeddings=size.is_tied,
    )
    model = LlamaForCausalLM(config).float()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                std = 0.02 if "embed_tokens" in name else weight.shape[1] ** -0.5
                weight.normal_(std=std, generator=generator)
            weight.copy_(weight.half().float())
        model.get_output_embeddings().weight[NEVER_SAID] = 0.0
    model.save_pretrained(path)
