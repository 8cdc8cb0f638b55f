"""Measures the full-size model on one accelerator with random weights and prints a table.

    python -m tests.bench.gpu [--preset 7b|13b|toy] [--device cuda] [--dtype bfloat16]

Nothing is downloaded: weights are drawn on the device, since speed does not depend on their
values. Before any timing, our decoder's logits are compared with transformers' on the same
weights (two layers of the same width). Floors are computed from the bandwidth and the matrix
rate measured here: what must be read, or multiplied, over how fast this device can.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import transformers
from torch import Tensor

from pandagpt.media.modality import Modality
from pandagpt.model.config import EncoderConfig, ImageBindConfig, LlamaConfig
from pandagpt.model.imagebind import ImageBind
from pandagpt.model.kv_cache import KVCache, Span
from pandagpt.model.llama import Llama

SEVEN_B = LlamaConfig(4096, 11008, 32, 32, 32001, 32)
THIRTEEN_B = LlamaConfig(5120, 13824, 40, 40, 32001, 40)
TOY = LlamaConfig(64, 160, 2, 4, 512, 4)
TOY_ENCODER = EncoderConfig(32, 2, 2)
TOY_ENCODERS = ImageBindConfig(*[TOY_ENCODER] * 6, embed_dim=32, text_vocab_size=100)
GIGA = 1e9

SHAPES = {
    Modality.IMAGE: (3, 224, 224),
    Modality.VIDEO: (15, 3, 2, 224, 224),
    Modality.AUDIO: (3, 1, 128, 204),
    Modality.DEPTH: (1, 224, 224),
    Modality.THERMAL: (1, 224, 224),
    Modality.IMU: (6, 2000),
}


@dataclass(frozen=True, slots=True)
class Preset:
    llama: LlamaConfig
    imagebind: ImageBindConfig
    rows: tuple[int, ...] = (1, 8, 32, 128)
    prompts: tuple[int, ...] = (64, 512, 2048)
    context: int = 512
    batch: int = 32
    repeats: int = 20


PRESETS = {
    "7b": Preset(SEVEN_B, ImageBindConfig()),
    "13b": Preset(THIRTEEN_B, ImageBindConfig()),
    "toy": Preset(TOY, TOY_ENCODERS, (1, 4), (16, 64), 32, 2, 3),
}


@dataclass(frozen=True, slots=True)
class Device:
    """Where and in what precision, and how fast that is: bytes/s read and copied, FLOP/s."""

    name: str
    dtype: torch.dtype
    bytes_per_second: float = 0.0
    flops: float = 0.0

    def seconds(self, run: Callable[[], object], repeats: int) -> float:
        """The median time of `run`, after one run that does not count."""
        run()
        times = []
        for _ in range(repeats):
            self.wait()
            start = time.perf_counter()
            run()
            self.wait()
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    def wait(self) -> None:
        if self.name.startswith("cuda"):
            torch.cuda.synchronize()


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    value: str
    floor: str = ""


def calibrate(device: Device, size: int) -> Device:
    """Measures copy bandwidth on `size`**2 values and the rate of a product of that size."""
    a = torch.randn(size, size, device=device.name, dtype=device.dtype)
    b = torch.empty_like(a)
    copied = 2 * a.numel() * a.element_size() / device.seconds(lambda: b.copy_(a), 20)
    flops = 2 * size**3 / device.seconds(lambda: torch.mm(a, a, out=b), 5)
    return replace(device, bytes_per_second=copied, flops=flops)


def random_llama(config: LlamaConfig, device: Device) -> Llama:
    llama = Llama(config, device.name, device.dtype)
    for weight in llama.weights().values():
        if weight.ndim > 1:
            weight.normal_(std=0.02)
        else:
            weight.fill_(1.0)
    return llama


@torch.inference_mode()
def largest_difference(config: LlamaConfig, device: Device) -> float:
    """Of our logits from transformers', both in float32, relative to the largest logit."""
    exact = replace(device, dtype=torch.float32)
    config = replace(config, num_hidden_layers=2)
    ours = random_llama(config, exact)
    oracle_config = transformers.LlamaConfig(**config.to_dict())
    with torch.device(device.name):
        oracle = transformers.LlamaForCausalLM(oracle_config).eval()
    oracle.load_state_dict(ours.weights(), strict=True)
    ids = torch.arange(3, 35, device=device.name)
    expected = oracle(ids[None]).logits[0]
    cache = KVCache(config, 1, 32, device.name, torch.float32)
    hidden = ours(ours.embed(ids), torch.arange(32), cache, 0, [Span(0, 0, 32)])
    return float((ours.logits(hidden) - expected).abs().max() / expected.abs().max())


def decode(llama: Llama, preset: Preset, device: Device) -> list[Row]:
    rows = []
    config = llama.config
    cache = KVCache(config, max(preset.rows), preset.context + 1, device.name, device.dtype)
    weight_bytes = sum(w.numel() * w.element_size() for w in llama.weights().values())
    for num_rows in preset.rows:
        embeds = torch.randn(num_rows, config.hidden_size, device=device.name, dtype=device.dtype)
        positions = torch.full((num_rows,), preset.context)

        def step(embeds: Tensor = embeds, positions: Tensor = positions) -> Tensor:
            return llama.logits(llama(embeds, positions, cache, len(embeds), [])).argmax(-1)

        seconds = device.seconds(step, preset.repeats)
        kv_bytes = cache.slab[:, :, :num_rows].numel() * cache.slab.element_size()
        floor = (weight_bytes + kv_bytes) / device.bytes_per_second
        name = f"decode step, {num_rows} rows at {preset.context} tokens, ms"
        rows.append(Row(name, f"{seconds * 1e3:.2f}", f"{floor * 1e3:.2f}"))
        rows.append(Row("  output tokens/s", f"{num_rows / seconds:.0f}"))
    return rows


def prefill(llama: Llama, preset: Preset, device: Device) -> list[Row]:
    rows = []
    config = llama.config
    cache = KVCache(config, 1, max(preset.prompts), device.name, device.dtype)
    flops_per_token = 2 * sum(w.numel() for w in llama.weights().values() if w.ndim > 1)
    for length in preset.prompts:
        embeds = torch.randn(length, config.hidden_size, device=device.name, dtype=device.dtype)
        positions, spans = torch.arange(length), [Span(0, 0, length)]

        def step(x: Tensor = embeds, at: Tensor = positions, spans: list[Span] = spans) -> Tensor:
            return llama.logits(llama(x, at, cache, 0, spans)[-1:])

        seconds = device.seconds(step, max(3, preset.repeats // 4))
        floor = length * flops_per_token / device.flops
        name = f"prefill of {length} tokens, ms"
        rows.append(Row(name, f"{seconds * 1e3:.2f}", f"{floor * 1e3:.2f}"))
        rows.append(Row("  prompt tokens/s", f"{length / seconds:.0f}"))
    return rows


@torch.inference_mode()
def encoders(preset: Preset, device: Device) -> list[Row]:
    with torch.device(device.name):
        imagebind = ImageBind(preset.imagebind).to(device.dtype).eval()
    rows = []
    for modality, shape in SHAPES.items():
        batch = max(1, preset.batch // 8) if modality is Modality.VIDEO else preset.batch
        inputs = torch.randn(batch, *shape, device=device.name, dtype=device.dtype)

        def step(modality: Modality = modality, inputs: Tensor = inputs) -> Tensor:
            return imagebind.encode(modality, inputs)

        seconds = device.seconds(step, max(3, preset.repeats // 4))
        rows.append(Row(f"{modality} files/s, batch {batch}", f"{batch / seconds:.0f}"))
    return rows


def title(device: Device) -> str:
    name = torch.cuda.get_device_name() if device.name.startswith("cuda") else device.name
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    speed = f"{device.bytes_per_second / GIGA:.0f} GB/s, {device.flops / GIGA / 1e3:.1f} TFLOP/s"
    return f"{name}, {str(device.dtype).removeprefix('torch.')}, {versions}; measured {speed}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="7b")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="bfloat16")
    options = parser.parse_args(arguments)
    preset = PRESETS[options.preset]
    toy = preset is PRESETS["toy"]
    device = Device(options.device, getattr(torch, options.dtype))
    device = calibrate(device, 256 if toy else 8192)
    difference = largest_difference(preset.llama, device)
    llama = random_llama(preset.llama, device)
    rows = [
        Row("largest difference from transformers (relative, float32)", f"{difference:.1e}"),
        *decode(llama, preset, device),
        *prefill(llama, preset, device),
    ]
    del llama
    rows += encoders(preset, device)
    print(f"{title(device)}\n\n| {options.preset} | measured | floor |\n|---|---|---|")
    for row in rows:
        print(f"| {row.name} | {row.value} | {row.floor} |")


if __name__ == "__main__":
    main()
