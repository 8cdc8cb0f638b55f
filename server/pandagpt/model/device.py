"""`auto` to a device, a number format and a storage of weights that suit the machine."""

from dataclasses import dataclass

import psutil
import torch

from pandagpt.errors import OperatorError
from pandagpt.model.cpu.decoder import CpuWeights, weights_of_16_bits

_CPU_WEIGHTS: dict[str, CpuWeights] = {
    "none": "float32",
    "fp16": "float16",
    "int16": "int16",
    "int8": "int8",
}


@dataclass(frozen=True, slots=True)
class Placement:
    """`cpu_weights`: how the compiled decoder stores its weights; None: torch's decoder.

    `captures`: on a GPU, decode steps are captured, and may run kernels of our own.
    """

    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    cpu_weights: CpuWeights | None = None
    captures: bool = True

    def __str__(self) -> str:
        number_format = str(self.dtype).removeprefix("torch.")
        if self.cpu_weights in (None, number_format):
            return number_format
        return f"{number_format} with {self.cpu_weights} weights"


# What every other way is compared with.
REFERENCE = Placement()


def choose(
    device: str, dtype: str, quantization: str = "auto", *, captures: bool = True
) -> Placement:
    """Half precision only on CUDA: CPUs without bf16 instructions are slower with it."""
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise OperatorError("--device cuda: this PyTorch finds no CUDA device; use --device cpu")
    if device == "auto":
        device = "cuda" if has_cuda else "cpu"
    if dtype == "auto":
        dtype = _half() if device == "cuda" else "float32"
    weights = _cpu_weights(device, dtype, quantization)
    return Placement(device, getattr(torch, dtype), weights, captures)


def free_memory(device: str) -> int:
    """Bytes that could be taken now without harm to others."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    return psutil.virtual_memory().available


def is_out_of_memory(error: BaseException) -> bool:
    """On a CPU torch raises a RuntimeError of these words."""
    is_named_so = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return is_named_so or "can't allocate memory" in str(error)


def _cpu_weights(device: str, dtype: str, quantization: str) -> CpuWeights | None:
    fastest = weights_of_16_bits() if (device, dtype) == ("cpu", "float32") else None
    if fastest is not None:
        return fastest if quantization == "auto" else _CPU_WEIGHTS[quantization]
    if quantization in ("auto", "none"):
        return None
    raise OperatorError(
        f"--quantization {quantization} needs --device cpu, --dtype float32 and a C++ compiler "
        "(such as g++); use --quantization none"
    )


def _half() -> str:
    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
