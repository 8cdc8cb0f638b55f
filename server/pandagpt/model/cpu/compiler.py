"""decoder.cpp to a loaded library: compiled once for this machine's CPU, kept beside the source.

Without a C++ compiler there is no library, and the caller takes torch's path.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pandagpt.logs import get_logger

SOURCE = Path(__file__).with_name("decoder.cpp")
COMPILERS = ("c++", "g++", "clang++")
# Sums keep their written order (no -ffast-math); only a product and its sum may be fused.
FLAGS = (
    "-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC",
)  # fmt: skip
# The first that the compiler takes. Apple's has no OpenMP, and for ARM only newer ones know -march.
MACHINES = (("-march=native", "-fopenmp"), ("-march=native",), ("-mcpu=native",))
TIMEOUT_SECONDS = 120


@cache
def library() -> ctypes.CDLL | None:
    """None: no compiler, or one that fails, which is logged."""
    if (compiler := _find_compiler()) is None:
        return None
    reason = ""
    for machine in MACHINES:
        try:
            return ctypes.CDLL(str(_compiled(compiler, (*FLAGS, *machine))))
        except subprocess.CalledProcessError as error:
            reason = reason or error.stderr[-2000:]
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = str(error)
            break
    get_logger().warning("decoder_not_compiled", compiler=compiler, reason=reason)
    return None


def _find_compiler() -> str | None:
    return next((path for name in COMPILERS if (path := shutil.which(name))), None)


def _compiled(compiler: str, flags: Sequence[str]) -> Path:
    target = _folder() / f"decoder-{_fingerprint(compiler, flags)}.so"
    if target.exists():
        return target
    # Under its own name only when whole: two servers may start at once.
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        draft = Path(folder) / target.name
        command = [compiler, *flags, str(SOURCE), "-o", str(draft)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
        draft.replace(target)
    return target


def _folder() -> Path:
    """Beside the source, as trusted as it; else the user's cache; else for this process alone."""
    for folder in (SOURCE.parent / "build", Path.home() / ".cache" / "pandagpt"):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return _private_folder()


@cache
def _private_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="pandagpt-"))


def _fingerprint(compiler: str, flags: Sequence[str]) -> str:
    """Of all that the compiled code depends on, this CPU included."""
    sources = [SOURCE, *sorted(SOURCE.parent.glob("*.h"))]
    version = subprocess.run([compiler, "--version"], capture_output=True, timeout=TIMEOUT_SECONDS)
    machine = [" ".join(flags).encode(), version.stdout, _cpu().encode()]
    parts = [*(path.read_bytes() for path in sources), *machine]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features"))}))
