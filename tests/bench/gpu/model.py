"""The measured model: random weights, drawn on the device, and transformers' view of the same.

Speed does not depend on the weights' values, so nothing is downloaded.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
import transformers
from torch import Tensor, nn

from pandagpt.media.text import TextTokenizer
from pandagpt.model.config import ImageBindConfig, LlamaConfig
from pandagpt.model.cuda.decoder import CudaLlama
from pandagpt.model.cuda.graphs import Captured
from pandagpt.model.imagebind import ImageBind
from pandagpt.model.kv_cache import KVCache, Span
from pandagpt.model.llama import Llama
from pandagpt.model.pandagpt import Encoders, PandaGPT
from pandagpt.model.tokenizer import Tokenizer, Vocabulary
from tests.bench.gpu.device import Device

_CHECKED_TOKENS, _CHECKED_STEPS = 32, 8


class Words(Tokenizer):
    """Every token is a word of its own: text is made and looked through as in earnest."""

    def __init__(self, size: int) -> None:
        words = tuple(f" w{i}" for i in range(size))
        texts = tuple(word.encode() for word in words)
        super().__init__(Vocabulary(words, texts, frozenset(), 1, 2), adds_blank=False)

    def encode(self, text: str) -> list[int]:
        return [int(word.removeprefix("w")) for word in text.split()]

    def encode_markup(self, text: str) -> list[int]:
        return self.encode(text)


class EagerLlama(CudaLlama):
    """Of which nothing is captured."""

    def new_cache(self, num_rows: int, max_len: int) -> KVCache:
        return Llama.new_cache(self, num_rows, max_len)


def random_llama(config: LlamaConfig, device: Device, *, captures: bool = True) -> CudaLlama:
    llama = (CudaLlama if captures else EagerLlama)(config, device.name, device.dtype)
    if not device.is_cuda:
        llama.new_capture = lambda: _replayed
    draw(llama.weights().values())
    return llama


@torch.no_grad()
def draw(weights: Iterable[Tensor]) -> None:
    for weight in weights:
        if weight.ndim > 1:
            weight.normal_(std=0.02)
        else:
            weight.fill_(1.0)


def random_panda(llama: CudaLlama, imagebind: ImageBindConfig, device: Device) -> PandaGPT:
    with torch.device(device.name):
        encoders = ImageBind(imagebind).to(device.dtype).eval()
        projection = nn.Linear(imagebind.embed_dim, llama.config.hidden_size, dtype=device.dtype)
    words = Words(llama.config.vocab_size)
    length, vocab_size = imagebind.text_context_length, imagebind.text_vocab_size
    reader = TextTokenizer.sentencepiece(words.encode, vocab_size, length)
    max_model_len = llama.config.max_position_embeddings
    return PandaGPT("random", llama, words, max_model_len, Encoders(encoders, projection, reader))


def oracle_of(llama: CudaLlama, device: Device) -> transformers.LlamaForCausalLM:
    """With the very same weights in memory."""
    config = transformers.LlamaConfig(**llama.config.to_dict(), dtype=device.dtype)
    with torch.device("meta"):
        oracle = transformers.LlamaForCausalLM(config)
    oracle.load_state_dict(llama.weights(), strict=True, assign=True)
    # Its table is no weight, so it is still on no device.
    oracle.model.rotary_emb = type(oracle.model.rotary_emb)(config=config).to(device.name)
    return oracle.eval()


def exact_difference(config: LlamaConfig, device: Device) -> float:
    """As `difference`, of two layers in float32: rounding hides nothing."""
    exact = replace(device, dtype=torch.float32)
    llama = random_llama(replace(config, num_hidden_layers=2), exact)
    return difference(llama, oracle_of(llama, exact))


@torch.inference_mode()
def difference(llama: CudaLlama, oracle: transformers.LlamaForCausalLM) -> float:
    """Of our logits from transformers', relative to the largest one.

    Two prompts are read, the second of half the length, and then some tokens decoded, in
    captured steps: all that the benchmark measures.
    """
    lengths = (_CHECKED_TOKENS, _CHECKED_TOKENS // 2)
    generator = torch.Generator().manual_seed(0)
    total = _CHECKED_TOKENS + _CHECKED_STEPS
    ids_2T = torch.randint(3, llama.config.vocab_size, (2, total), generator=generator)
    ids_2T = ids_2T.to(llama.device)
    cache = llama.new_cache(3, total)
    spans = [Span(row, 0, length) for row, length in enumerate(lengths)]
    positions = torch.cat([torch.arange(length) for length in lengths])
    prompts = torch.cat([ids_2T[row, :length] for row, length in enumerate(lengths)])
    llama(llama.embed(prompts), positions, cache, 0, spans)
    expected_2TV = oracle(ids_2T).logits.float()
    largest = 0.0
    for step in range(_CHECKED_STEPS):
        at = torch.tensor([length + step for length in lengths])
        tokens = torch.stack([ids_2T[row, place] for row, place in enumerate(at.tolist())])
        got_2V = llama.logits(llama(llama.embed(tokens), at, cache, 2, []))
        expected_2V = torch.stack([expected_2TV[row, p] for row, p in enumerate(at.tolist())])
        largest = max(largest, float((got_2V - expected_2V).abs().max() / expected_2V.abs().max()))
    return largest


def _replayed(run: Callable[[], Tensor]) -> Captured:
    """Where there are no graphs: the same, step by step."""
    hidden = run().clone()
    return Captured(lambda: hidden.copy_(run()), hidden)
