"""`transformers serve` with continuous batching and torch's own attention.

The cache is paged; its default page of 256 tokens wastes most of it on short prompts.
"""

from pathlib import Path

from tests.bench.peers.peer import ONE_THREAD, Launch, Peer, new_venv, pip, venv_path

VENV = "transformers"
PAGE = 32


def command(launch: Launch) -> list[str]:
    num_pages = launch.max_streams * launch.max_len // PAGE
    return [
        *(str(venv_path(VENV) / "bin" / "transformers"), "serve", launch.model),
        *("--continuous-batching", "--attn-implementation", "sdpa", "--dtype", "float32"),
        *("--cb-block-size", str(PAGE), "--cb-num-blocks", str(num_pages)),
        *("--cb-max-batch-tokens", "512", "--device", launch.device),
        *("--host", "127.0.0.1", "--port", str(launch.port)),
    ]


def install(venv: Path) -> None:
    new_venv(venv)
    pip(venv, "torch==2.13.0")
    pip(venv, "torch==2.13.0", "transformers[serving]==5.23.0", "sentencepiece", "protobuf")


PEER = Peer("transformers", command, "/health", ONE_THREAD, {"model": "{model}"}, VENV, install)
