"""The GPU's benchmark runs whole at toy size on any machine."""

import json
from pathlib import Path

import pytest

from tests.bench.gpu import __main__ as gpu

ARGUMENTS = ["--preset", "toy", "--device", "cpu", "--dtype", "float32"]


def test_measures_everything_and_writes_it_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu.main([*ARGUMENTS, "--out", str(tmp_path / "results")])
    table = capsys.readouterr().out
    written = (tmp_path / "results.md").read_text()
    assert written in table
    data = json.loads((tmp_path / "results.json").read_text())
    assert "torch" in data["title"]
    assert data["command"].startswith("python -m tests.bench.gpu --preset toy")
    values = {row["name"].strip(): row["value"] for row in data["rows"]}
    assert values["difference from transformers, two layers in float32, relative"] < 1e-5
    assert values["all layers as served"] < 1e-5
    assert values["decode steps"].startswith("captured")
    for name in (
        "decode step, 4 rows at 32 tokens, ms",
        "prompt of 64 tokens, ms",
        "video files/s, 1 at once",
        "4 questions about a picture at once, 8 tokens each, output tokens/s",
        "transformers generate, 2 rows at 32 tokens, ms a step",
        "transformers continuous batching, 4 texts at once, output tokens/s",
    ):
        assert values[name] > 0


def test_a_part_that_fails_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(subject: gpu.Subject) -> None:
        raise MemoryError

    monkeypatch.setitem(gpu.PARTS, "steps", failing)
    with pytest.raises(SystemExit, match="failed: steps"):
        gpu.main([*ARGUMENTS, "--parts", "steps,encoders", "--out", str(tmp_path / "results")])
    table = capsys.readouterr().out
    assert "| steps | failed: MemoryError |" in table
    assert "| imu files/s, 2 at once |" in table


def test_eager_steps_are_measured_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "results")
    gpu.main([*ARGUMENTS, "--parts", "steps", "--enforce-eager", "--out", out])
    assert "| decode steps | not captured |" in capsys.readouterr().out
