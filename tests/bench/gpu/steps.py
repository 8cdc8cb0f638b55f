"""The model's parts alone: a decode step, a prompt, a batch of media."""

from collections.abc import Iterator

import torch
from torch import Tensor

from pandagpt.media.modality import Modality
from pandagpt.model.cuda.decoder import CudaLlama
from pandagpt.model.imagebind import ImageBind
from pandagpt.model.kv_cache import KVCache, Span
from pandagpt.model.llama import Llama
from tests.bench.gpu.device import Device
from tests.bench.gpu.presets import SHAPES, Preset
from tests.bench.gpu.table import Row


def decode(llama: CudaLlama, preset: Preset, device: Device) -> Iterator[Row]:
    cache = llama.new_cache(max(preset.rows), preset.context + 1)
    yield Row("decode steps", way_of(llama))
    for rows in preset.rows:
        seconds = _decode_seconds(llama, cache, rows, preset.context, preset, device)
        floor = _decode_floor(llama, rows, preset.context, device)
        name = f"decode step, {rows} rows at {preset.context} tokens, ms"
        yield Row(name, seconds * 1e3, preset.goals.decode_ms.get(rows), floor * 1e3)
        yield Row("  output tokens/s", rows / seconds, less=False)
    llama.graphs = None
    for rows in sorted({min(preset.rows), max(preset.rows)}):
        seconds = _decode_seconds(llama, cache, rows, preset.context, preset, device)
        yield Row(f"  not captured, {rows} rows, ms", seconds * 1e3)


def growth(llama: CudaLlama, preset: Preset, device: Device) -> Iterator[Row]:
    rows = preset.growth_rows
    cache = llama.new_cache(rows, max(preset.contexts) + 1)
    for context in preset.contexts:
        seconds = _decode_seconds(llama, cache, rows, context, preset, device)
        floor = _decode_floor(llama, rows, context, device)
        name = f"decode step, {rows} rows at {context} tokens, ms"
        yield Row(name, seconds * 1e3, floor=floor * 1e3)


def way_of(llama: CudaLlama) -> str:
    return "not captured" if llama.graphs is None else f"captured, {llama.graphs.way.__name__}"


@torch.inference_mode()
def _decode_seconds(
    llama: Llama, cache: KVCache, rows: int, context: int, preset: Preset, device: Device
) -> float:
    """From token ids on the device to token ids on the device."""
    ids, positions = torch.arange(rows, device=device.name), torch.full((rows,), context)

    def step() -> Tensor:
        return llama.logits(llama(llama.embed(ids), positions, cache, rows, [])).argmax(-1)

    return device.seconds(step, preset.repeats)


def _decode_floor(llama: Llama, rows: int, context: int, device: Device) -> float:
    """Weights and live keys and values must be read once."""
    weight_bytes = sum(w.numel() * w.element_size() for w in llama.weights().values())
    kv_bytes = rows * (context + 1) * llama.kv_bytes_per_token
    return (weight_bytes + kv_bytes) / device.bytes_per_second


@torch.inference_mode()
def prefill(llama: CudaLlama, preset: Preset, device: Device) -> Iterator[Row]:
    cache = llama.new_cache(1, max(preset.prompts))
    flops_per_token = 2 * sum(w.numel() for w in llama.weights().values() if w.ndim > 1)
    best = 0.0
    for length in preset.prompts:
        ids, positions = torch.arange(length, device=device.name) % 97, torch.arange(length)
        spans = [Span(0, 0, length)]

        def step(ids: Tensor = ids, at: Tensor = positions, spans: list[Span] = spans) -> Tensor:
            return llama.logits(llama(llama.embed(ids), at, cache, 0, spans)[-1:])

        seconds = device.seconds(step, max(3, preset.repeats // 4))
        best = max(best, length / seconds)
        floor = length * flops_per_token / device.flops
        yield Row(f"prompt of {length} tokens, ms", seconds * 1e3, floor=floor * 1e3)
    goal = preset.goals.prefill_tokens_per_second
    yield Row("  prompt tokens/s, at best", best, goal, less=False)


@torch.inference_mode()
def encoders(imagebind: ImageBind, preset: Preset, device: Device) -> Iterator[Row]:
    for modality, shape in SHAPES.items():
        batch = max(1, preset.batch // 8) if modality is Modality.VIDEO else preset.batch
        inputs = torch.randn(batch, *shape, device=device.name, dtype=device.dtype)

        def step(modality: Modality = modality, inputs: Tensor = inputs) -> Tensor:
            return imagebind.encode(modality, inputs)

        seconds = device.seconds(step, max(3, preset.repeats // 4))
        goal = preset.goals.files_per_second.get(modality)
        yield Row(f"{modality} files/s, {batch} at once", batch / seconds, goal, less=False)
