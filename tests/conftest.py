"""Fixtures that many tests share: the golden set, and a whole tiny model made from it."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def golden() -> Path:
    """Reference outputs; `PANDAGPT_GOLDEN` names another set of the same layout."""
    return Path(os.environ.get("PANDAGPT_GOLDEN", Path(__file__).parent / "parity" / "golden"))
