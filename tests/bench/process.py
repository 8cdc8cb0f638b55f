"""Servers as processes: started on a free port, waited for, measured, ended with all children.

Linux only: memory is read from /proc.
"""

import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

START_TIMEOUT_SECONDS = 300
ROOT = Path(__file__).parents[2]


@dataclass(slots=True)
class Server:
    url: str
    pid: int
    start_seconds: float
    peak_bytes: int = 0

    def sample_memory(self) -> None:
        """Proportional set size of the whole tree: shared pages are counted once."""
        self.peak_bytes = max(self.peak_bytes, sum(map(_pss_bytes, _tree(self.pid))))


@contextmanager
def running(
    command: Callable[[int], Sequence[str]],
    is_ready: Callable[[str], bool],
    environment: Mapping[str, str] | None = None,
    log: int | IO[bytes] = subprocess.DEVNULL,
) -> Generator[Server]:
    """`command` gets the port. The server leads a process group, which is ended as a whole."""
    port, start = free_port(), time.perf_counter()
    process = subprocess.Popen(
        command(port),
        stdout=log,
        stderr=log,
        env=os.environ | dict(environment or {}),
        cwd=ROOT,  # where `-m tests.bench...` is found
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while not is_ready(url):
            if process.poll() is not None:
                raise RuntimeError(f"the server ended with status {process.returncode}")
            if time.perf_counter() - start > START_TIMEOUT_SECONDS:
                raise RuntimeError(f"the server was not ready in {START_TIMEOUT_SECONDS} s")
            time.sleep(0.05)
        yield Server(url, process.pid, time.perf_counter() - start)
    finally:
        _end(process)


@contextmanager
def pandagpt(model: str, *options: str) -> Generator[Server]:
    with running(pandagpt_command(model, *options), answers("/ready")) as server:
        yield server


def pandagpt_command(model: str, *options: str) -> Callable[[int], list[str]]:
    command = [sys.executable, "-m", "pandagpt", "serve", "--model", model, *options, "--port"]
    return lambda port: [*command, str(port)]


def answers(path: str) -> Callable[[str], bool]:
    def is_ready(url: str) -> bool:
        try:
            return httpx.get(f"{url}{path}", timeout=1).status_code == 200
        except httpx.TransportError:
            return False

    return is_ready


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    cpu = next(names, platform.processor())
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}"


def others() -> str:
    """To be asked before a benchmark starts: on a busy machine bursts hide the time of tokens."""
    return f"load {os.getloadavg()[0]:.1f} before the start"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(30)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # whatever outlived its parent
    process.wait()


def _tree(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        threads = Path(f"/proc/{pid}/task").iterdir()
        children += [c for t in threads if t.name != str(pid) for c in _children_of(t)]
    except FileNotFoundError:
        return []
    return [pid, *(found for child in children for found in _tree(int(child)))]


def _children_of(thread: Path) -> list[str]:
    try:
        return (thread / "children").read_text().split()
    except FileNotFoundError:
        return []


def _pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
