"""A device and what it can do at best: the clock and the floors of all measurements."""

import platform
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version

import torch

GIGA = 1e9


@dataclass(frozen=True, slots=True)
class Device:
    """Where and in what precision, and how fast that is: bytes/s read and copied, FLOP/s."""

    name: str
    dtype: torch.dtype
    bytes_per_second: float = 0.0
    flops: float = 0.0

    @property
    def is_cuda(self) -> bool:
        return self.name.startswith("cuda")

    @property
    def hardware(self) -> str:
        return torch.cuda.get_device_name() if self.is_cuda else platform.processor() or "CPU"

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
        if self.is_cuda:
            torch.cuda.synchronize()

    def free(self) -> None:
        """What was dropped may be taken by anybody, transformers too."""
        if self.is_cuda:
            torch.cuda.empty_cache()


def calibrated(device: Device, size: int) -> Device:
    """Measures copy bandwidth on `size`**2 values and the rate of a product of that size."""
    a = torch.randn(size, size, device=device.name, dtype=device.dtype)
    b = torch.empty_like(a)
    copied = 2 * a.numel() * a.element_size() / device.seconds(lambda: b.copy_(a), 20)
    flops = 2 * size**3 / device.seconds(lambda: torch.mm(a, a, out=b), 5)
    return replace(device, bytes_per_second=copied, flops=flops)


def title(device: Device) -> str:
    names = ("pandagpt", "torch", "transformers", "triton")
    versions = ", ".join(f"{name} {found}" for name in names if (found := _version(name)))
    if device.is_cuda:
        versions += f", CUDA {torch.version.cuda}"
    speed = f"{device.bytes_per_second / GIGA:.0f} GB/s, {device.flops / GIGA / 1e3:.2f} TFLOP/s"
    dtype = str(device.dtype).removeprefix("torch.")
    return f"{device.hardware}, {dtype}, Python {platform.python_version()}, {versions}; {speed}"


def _version(package: str) -> str | None:
    """None where it is not installed."""
    with suppress(PackageNotFoundError):
        return version(package)
    return None
