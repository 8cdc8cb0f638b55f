"""Which storage of weights a machine gets."""

from pathlib import Path
from typing import get_args

import pytest

from pandagpt.errors import OperatorError
from pandagpt.model import device
from pandagpt.model.cpu.compiler import library
from pandagpt.model.device import Placement, choose
from pandagpt.settings import Quantization

CPUINFO = Path("/proc/cpuinfo")
needs_compiler = pytest.mark.skipif(library() is None, reason="needs a C++ compiler")


@needs_compiler
@pytest.mark.skipif(not CPUINFO.exists(), reason="the processor is read from Linux")
def test_integers_where_the_processor_multiplies_pairs_of_them() -> None:
    expected = "int16" if " avx2 " in CPUINFO.read_text(encoding="utf-8") else "float16"
    assert choose("cpu", "auto").cpu_weights == expected


@needs_compiler
@pytest.mark.parametrize("quantization", get_args(Quantization))
def test_each_name_has_its_weights(quantization: Quantization) -> None:
    assert choose("cpu", "float32", quantization).cpu_weights is not None


@pytest.mark.parametrize("quantization", get_args(Quantization))
def test_without_a_compiler_weights_stay_as_torch_takes_them(
    monkeypatch: pytest.MonkeyPatch, quantization: Quantization
) -> None:
    monkeypatch.setattr(device, "weights_of_16_bits", lambda: None)
    if quantization in ("auto", "none"):
        assert choose("cpu", "auto", quantization) == Placement()
    else:
        with pytest.raises(OperatorError, match=f"--quantization {quantization} needs .* compiler"):
            choose("cpu", "auto", quantization)
