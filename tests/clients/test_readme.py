"""README's own lines, pasted as they stand, against the bundled model."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PACKAGE = ROOT / "server" / "pandagpt"
TREE = (ROOT / "server" / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def block(language: str, beginning: str) -> str:
    return next(text for text in blocks(language) if text.startswith(beginning))


def run(url: str, *command: str) -> str:
    *program, text = command
    text = text.replace("http://127.0.0.1:8000", url)
    return subprocess.run(
        [*program, text], check=True, capture_output=True, text=True, timeout=60
    ).stdout


def test_curl_hears_a_frog(tiny_url: str) -> None:
    assert "frog" in run(tiny_url, "sh", "-c", block("sh", "curl"))


def test_sdk_sees_red(tiny_url: str) -> None:
    assert "red" in run(tiny_url, sys.executable, "-c", block("python", "from openai"))


def test_sdk_finds_the_sound_of_a_picture(tiny_url: str) -> None:
    out = run(tiny_url, sys.executable, "-c", block("python", "import numpy"))
    assert out == "frog.wav\n"


def test_the_base_answers_too(tiny_url: str) -> None:
    (code,) = [t for t in blocks("python") if "client.models.list" in t]
    out = run(tiny_url, sys.executable, "-c", code)
    assert [line.split()[0] for line in out.splitlines()] == ["pandagpt-tiny", "pandagpt-tiny-base"]
    assert out.count("ribbit") == 2


def test_sdk_uploads_a_sound(tiny_url: str) -> None:
    assert "frog" in run(tiny_url, sys.executable, "-c", block("python", "from pathlib"))


def test_curl_counts_what_the_first_curl_costs(tiny_url: str) -> None:
    answer = json.loads(run(tiny_url, "sh", "-c", block("sh", "curl")))
    tokenize = block("sh", "curl -s http://127.0.0.1:8000/tokenize")
    counted = json.loads(run(tiny_url, "sh", "-c", tokenize))
    assert counted["count"] == answer["usage"]["prompt_tokens"]


def test_sdk_parses_a_sighting(tiny_url: str) -> None:
    first, second = run(
        tiny_url, sys.executable, "-c", block("python", "from typing import Literal")
    ).splitlines()
    assert re.fullmatch(r"thing='(bird|car|frog)' count=[123]", first)
    assert re.fullmatch(r"report thing='(bird|car|frog)' count=[123]", second)


@pytest.mark.parametrize("command", ["make serve", "make test"])
def test_the_two_commands_are_targets(command: str) -> None:
    assert command in block("sh", "make serve")
    target = command.removeprefix("make ")
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_ci_runs_the_test_command() -> None:
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_tree_lists_every_file(path: Path) -> None:
    name = path.parent.name + "/" if path.name == "__init__.py" else path.name
    assert path.parent == PACKAGE or re.search(rf"^ *{re.escape(name)}( |$)", TREE, re.MULTILINE)
