"""Live servers for the example clients: one with random weights, one with the bundled model."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pandagpt.cli.loading import load_serving
from pandagpt.settings import Settings
from tests.api.conftest import serving


@pytest.fixture(scope="session")
def golden_url(golden_bundle: Path) -> Iterator[str]:
    settings = Settings(model=str(golden_bundle), threads=1)
    with serving(settings, lambda: load_serving(settings)[0]) as url:
        yield url


@pytest.fixture(scope="session")
def tiny_url() -> Iterator[str]:
    settings = Settings(threads=1)
    with serving(settings, lambda: load_serving(settings)[0]) as url:
        yield url
