"""The accelerator benchmark runs whole at toy size on any machine."""

import pytest

from tests.bench import gpu


def test_prints_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--preset", "toy", "--device", "cpu", "--dtype", "float32"])
    table = capsys.readouterr().out
    for name in ("decode step, 4 rows", "prefill of 64 tokens", "video files/s", "imu files/s"):
        assert name in table


def test_decoder_agrees_with_transformers() -> None:
    device = gpu.Device("cpu", gpu.torch.float32)
    assert gpu.largest_difference(gpu.TOY, device) < 1e-5
