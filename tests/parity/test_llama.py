"""The golden language model, before any adapter, in our decoder and in transformers'."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from pandagpt.model.config import LlamaConfig
from pandagpt.model.kv_cache import KVCache, Span
from pandagpt.model.llama import Llama


@torch.no_grad()
def test_logits_equal_transformers(golden: Path) -> None:
    folder = golden / "splice" / "llama"
    oracle = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    llama = Llama(LlamaConfig.from_dict(json.loads((folder / "config.json").read_text())))
    llama.load(load_file(folder / "model.safetensors"))
    io = load_file(golden / "splice" / "splice_io.safetensors")
    for key, ids in io.items():
        if not key.endswith(".suffix_ids"):
            continue
        length = len(ids)
        cache = KVCache(llama.config, 1, length)
        hidden = llama(llama.embed(ids), torch.arange(length), cache, 0, [Span(0, 0, length)])
        want = oracle(ids[None]).logits[0]
        torch.testing.assert_close(llama.logits(hidden), want, atol=1e-4, rtol=0)
