"""Each example client as a user runs it, against a live server: it works, and is answered right."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pandagpt.model.folder import BUNDLED

CLIENTS = Path(__file__).parents[2] / "clients"
SAMPLES = Path(__file__).parents[2] / "server" / "pandagpt" / "samples"
SCRIPTS = sorted(path.stem for path in (CLIENTS / "curl").glob("*.sh"))
ARGUMENTS = {"own_picture": (str(SAMPLES / "red_car.png"), "What is this?")}
RIGHT = {
    "image": ("car",),
    "video": ("train",),
    "audio": ("frog",),
    "depth": ("boat",),
    "thermal": ("kettle",),
    "imu": ("horse",),
    "stream": ("frog",),
    "own_picture": ("car",),
    "sum": ("car", "frog"),
    "interleave": ("car", "frog"),
}

pytestmark = pytest.mark.skipif(not shutil.which("curl"), reason="the scripts need curl")
has_bundled_model = pytest.mark.skipif(
    not (BUNDLED["tiny"] / "manifest.json").is_file(), reason="the bundled model is not there"
)


def run(url: str, *command: str) -> str:
    environment = os.environ | {"PANDAGPT_URL": url}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def curl(url: str, script: str) -> str:
    """The answer's text, however it came."""
    out = run(url, str(CLIENTS / "curl" / f"{script}.sh"), *ARGUMENTS.get(script, ()))
    if out.startswith("{"):
        return json.loads(out)["choices"][0]["message"]["content"]
    events = [line.removeprefix("data: ") for line in out.splitlines() if line]
    assert events.pop() == "[DONE]"
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    return "".join(choice["delta"].get("content", "") for choice in choices)


def test_every_script_is_known() -> None:
    assert set(SCRIPTS) == set(RIGHT)


@pytest.mark.parametrize("script", SCRIPTS)
def test_curl_runs(golden_url: str, script: str) -> None:
    assert curl(golden_url, script)


def test_openai_sdk_runs(golden_url: str) -> None:
    assert run(golden_url, sys.executable, str(CLIENTS / "python" / "openai_sdk.py")).strip()


def test_curl_tells_of_errors(golden_url: str) -> None:
    script = str(CLIENTS / "curl" / "own_picture.sh")
    environment = os.environ | {"PANDAGPT_URL": golden_url}
    done = subprocess.run([script, __file__], env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert json.loads(done.stdout)["error"]["code"] == "invalid_media"


@has_bundled_model
@pytest.mark.parametrize("script", SCRIPTS)
def test_curl_is_answered_right(tiny_url: str, script: str) -> None:
    text = curl(tiny_url, script).lower()
    assert all(word in text for word in RIGHT[script]), text


@has_bundled_model
def test_openai_sdk_is_answered_right(tiny_url: str) -> None:
    out = run(tiny_url, sys.executable, str(CLIENTS / "python" / "openai_sdk.py"))
    assert "car" in out
