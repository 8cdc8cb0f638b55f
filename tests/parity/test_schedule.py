"""Our learning rate against the one that the reference really used, step by step."""

import json
import re
from pathlib import Path

import pytest

from pandagpt.training.schedule import learning_rate


def test_every_step_of_every_table(golden: Path) -> None:
    data = json.loads((golden / "lr_schedule.json").read_text())
    tables = {key: rates for key, rates in data.items() if key.startswith("total_")}
    assert tables
    for key, rates in tables.items():
        total, warmup = map(int, re.findall(r"\d+", key))
        ours = [learning_rate(step, total, warmup, data["peak"]) for step in range(len(rates))]
        assert ours == pytest.approx(rates, rel=1e-9, abs=1e-15), key
