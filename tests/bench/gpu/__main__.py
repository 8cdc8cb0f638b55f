"""Measures the full-size model on one accelerator, with random weights and beside transformers.

    python -m tests.bench.gpu [--preset 7b|13b|toy] [--device cuda] [--dtype bfloat16]
                              [--parts steps,encoders,serving,peers] [--out build/bench/gpu-7b]

Prints a table, and writes it to OUT.md and OUT.json with the hardware, the versions and the
command. Before any timing our logits are compared with transformers' on the same weights.
Floors are computed from the bandwidth and the matrix rate measured here: what must be read,
or multiplied, over how fast this device can. Not run on a GPU yet.
"""

import argparse
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import transformers

from pandagpt.model.cuda.decoder import CudaLlama
from pandagpt.model.pandagpt import PandaGPT
from tests.bench.gpu import peers, steps
from tests.bench.gpu.device import Device, calibrated, title
from tests.bench.gpu.model import (
    difference,
    exact_difference,
    oracle_of,
    random_llama,
    random_panda,
)
from tests.bench.gpu.presets import PRESETS, Preset
from tests.bench.gpu.serving import serving
from tests.bench.gpu.table import Report, Row


@dataclass
class Subject:
    """What is measured, made when a part first asks for it; all parts share its weights."""

    preset: Preset
    device: Device
    captures: bool = True

    @cached_property
    def llama(self) -> CudaLlama:
        return random_llama(self.preset.llama, self.device, captures=self.captures)

    @cached_property
    def panda(self) -> PandaGPT:
        return random_panda(self.llama, self.preset.imagebind, self.device)

    @cached_property
    def oracle(self) -> transformers.LlamaForCausalLM:
        return oracle_of(self.llama, self.device)

    def free(self) -> None:
        """Captured steps hold their cache."""
        self.llama.graphs = None
        self.device.free()


def all_steps(subject: Subject) -> Iterator[Row]:
    preset, device = subject.preset, subject.device
    exact = exact_difference(preset.llama, device)
    yield Row("difference from transformers, two layers in float32, relative", exact)
    yield Row("  all layers as served", difference(subject.llama, subject.oracle))
    for measure in (steps.decode, steps.growth, steps.prefill):
        yield from measure(subject.llama, preset, device)
        subject.free()


def encoders(subject: Subject) -> Iterator[Row]:
    imagebind = subject.panda.encoders.imagebind
    yield from steps.encoders(imagebind, subject.preset, subject.device)


def whole_engine(subject: Subject) -> Iterator[Row]:
    yield from serving(subject.panda, subject.preset, subject.device)


def transformers_itself(subject: Subject) -> Iterator[Row]:
    for measure in (peers.generate, peers.continuous_batching):
        yield from measure(subject.oracle, subject.preset, subject.device)


PARTS: dict[str, Callable[[Subject], Iterator[Row]]] = {
    "steps": all_steps,
    "encoders": encoders,
    "serving": whole_engine,
    "peers": transformers_itself,
}


def run(parts: Sequence[str], subject: Subject, report: Report) -> list[str]:
    """The parts that failed. Time on a GPU is dear, so the others are measured all the same."""
    rows, failed = [], []
    for part in parts:
        try:
            for row in PARTS[part](subject):
                rows.append(row)
                report.write(rows)
        except Exception as error:
            traceback.print_exc()
            rows.append(Row(part, f"failed: {type(error).__name__}"))
            failed.append(part)
        subject.free()
    print(report.write(rows))
    return failed


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="7b")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--enforce-eager", action="store_true", help="no captured steps")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    preset = PRESETS[options.preset]
    device = Device(options.device, getattr(torch, options.dtype))
    device = calibrated(device, preset.calibration)
    given = sys.argv[1:] if arguments is None else arguments
    report = Report(
        options.out or Path(f"build/bench/gpu-{options.preset}"),
        title(device),
        shlex.join(["python", "-m", "tests.bench.gpu", *given]),
    )
    subject = Subject(preset, device, captures=not options.enforce_eager)
    if failed := run(options.parts.split(","), subject, report):
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
