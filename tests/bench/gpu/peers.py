"""transformers on the same weights: `generate` on a batch of one length, and its own batching."""

import time
from collections.abc import Iterator

import torch
import transformers
from transformers import ContinuousBatchingConfig, GenerationConfig

from tests.bench.gpu.device import Device
from tests.bench.gpu.presets import Preset
from tests.bench.gpu.table import Row

_FEW, _MANY = 4, 20


@torch.inference_mode()
def generate(
    oracle: transformers.LlamaForCausalLM, preset: Preset, device: Device
) -> Iterator[Row]:
    """A token's time is told by answers of two lengths, without the prompt's."""
    for rows in preset.peer_rows:
        ids = torch.randint(3, oracle.config.vocab_size, (rows, preset.context))
        few, many = (_seconds(oracle, ids.to(device.name), n, device) for n in (_FEW, _MANY))
        name = f"transformers generate, {rows} rows at {preset.context} tokens, ms a step"
        yield Row(name, (many - few) / (_MANY - _FEW) * 1e3)
        device.free()


def _seconds(
    oracle: transformers.LlamaForCausalLM, ids: torch.Tensor, num_tokens: int, device: Device
) -> float:
    config = GenerationConfig(
        max_new_tokens=num_tokens,
        min_new_tokens=num_tokens,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=2,
    )
    mask = torch.ones_like(ids)

    def run() -> object:
        return oracle.generate(  # ty: ignore[invalid-argument-type]
            ids, attention_mask=mask, generation_config=config
        )

    return device.seconds(run, 1)


def continuous_batching(
    oracle: transformers.LlamaForCausalLM, preset: Preset, device: Device
) -> Iterator[Row]:
    """As many questions as `serving.texts` asks, and as long."""
    length, tokens, streams = preset.question_tokens, preset.answer_tokens, preset.streams
    prompts = [[3 + (7 * i + j) % 97 for j in range(length)] for i in range(streams)]
    config = GenerationConfig(max_new_tokens=tokens, do_sample=False, eos_token_id=-1)
    batching = ContinuousBatchingConfig(max_batch_tokens=2048, max_memory_percent=0.6)
    if not device.is_cuda:  # whose memory tells it nothing
        batching.num_blocks, batching.page_size = 4 * streams, 32
    seconds = 0.0
    for _ in range(2):  # the first one does not count
        start = time.perf_counter()
        outputs = oracle.generate_batch(prompts, config, batching, persistent_manager=True)
        seconds = time.perf_counter() - start
    oracle.destroy_cached_continuous_batching_manager()
    generated = sum(len(output.generated_tokens) for output in outputs.values())
    name = f"transformers continuous batching, {streams} texts at once, output tokens/s"
    yield Row(name, generated / seconds, less=False)
