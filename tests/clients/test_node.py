"""The JavaScript examples against the bundled model, where node and their packages are."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

NODE = Path(__file__).parents[2] / "clients" / "node"

pytestmark = [
    pytest.mark.skipif(not shutil.which("node"), reason="node is not installed"),
    pytest.mark.skipif(
        not (NODE / "node_modules" / ".package-lock.json").is_file(),
        reason="clients/node has no packages: `make install-dev` could not reach npm's registry",
    ),
]


def run(url: str, script: str) -> list[str]:
    done = subprocess.run(
        ["node", str(NODE / script)],
        env=os.environ | {"PANDAGPT_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_openai_sdk(tiny_url: str) -> None:
    picture, sound, usage, vectors = run(tiny_url, "openai_sdk.mjs")
    assert "car" in picture
    assert "frog" in sound
    assert usage == "1 token of sound"
    assert vectors == "2 vectors of 128 numbers"


def test_ai_sdk(tiny_url: str) -> None:
    picture, sound, usage, vectors = run(tiny_url, "ai_sdk.mjs")
    assert "car" in picture
    assert "frog" in sound
    assert int(usage.removesuffix(" tokens")) > 10
    assert vectors == "2 vectors of 128 numbers"


def test_ai_sdk_object(tiny_url: str) -> None:
    (line,) = run(tiny_url, "ai_sdk_object.mjs")
    assert set(json.loads(line)) == {"thing", "colour"}


def test_errors_are_told(golden_url: str) -> None:
    """A failure reaches the shell, so that the tests above can fail."""
    environment = os.environ | {"PANDAGPT_URL": f"{golden_url}/nowhere"}
    for script in ("openai_sdk.mjs", "ai_sdk.mjs"):
        done = subprocess.run(["node", NODE / script], env=environment, capture_output=True)
        assert done.returncode != 0
