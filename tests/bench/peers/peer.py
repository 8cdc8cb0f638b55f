"""What the benchmark knows of a server: how to install it, to start it, and to ask it."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.peers.weights import Folder

BENCH = Path(__file__).parents[3] / "build" / "bench"
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True, slots=True)
class Launch:
    """What every server is told alike; each has one compute thread."""

    folder: Folder
    port: int
    max_streams: int
    max_len: int
    device: str

    @property
    def model(self) -> str:
        return str(self.folder.path)


@dataclass(frozen=True, slots=True)
class Peer:
    """`body` is added to each request; {model} in it is the folder. `venv` None: our own."""

    name: str
    command: Callable[[Launch], list[str]]
    ready_path: str = "/health"
    environment: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    venv: str | None = None
    install: Callable[[Path], None] | None = None
    prepare: Callable[[Folder], None] | None = None

    @property
    def is_installed(self) -> bool:
        return self.venv is None or (venv_path(self.venv) / "installed").exists()

    def extras(self, folder: Folder) -> dict[str, Any]:
        model = str(folder.path)
        return {key: model if value == "{model}" else value for key, value in self.body.items()}


def venv_path(name: str) -> Path:
    return BENCH / "venvs" / name


def new_venv(path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(path)], check=True)


def pip(venv: Path, *arguments: str) -> None:
    """Never without torch's exact version: a range would fetch a build for GPUs, of gigabytes."""
    command = [str(venv / "bin" / "pip"), "install", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True)
