"""`auto` to a device and a number format that suit the machine."""

import torch

from pandagpt.errors import OperatorError


def choose(device: str, dtype: str) -> tuple[str, torch.dtype]:
    """Half precision only on CUDA: CPUs without bf16 instructions are slower with it."""
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise OperatorError("--device cuda: this PyTorch finds no CUDA device; use --device cpu")
    if device == "auto":
        device = "cuda" if has_cuda else "cpu"
    if dtype == "auto":
        dtype = _half() if device == "cuda" else "float32"
    return device, getattr(torch, dtype)


def _half() -> str:
    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
