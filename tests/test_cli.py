"""The command as an operator meets it: a process, its output and its exit code."""

import json
import logging
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from pandagpt.cli import serve as serve_command
from pandagpt.cli.loading import engine_config, load_serving
from pandagpt.errors import CheckpointError, OperatorError
from pandagpt.settings import Settings

START_SECONDS = 60


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pandagpt", *arguments],
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )


@pytest.fixture(autouse=True)
def _restored_logs() -> Iterator[None]:
    """A command run in this process must not leave its handler to the next test."""
    root = logging.getLogger()
    before = (root.handlers, root.level)
    yield
    root.handlers, root.level = before


@contextmanager
def serving(bundle: Path, *flags: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pandagpt", "serve"),
            *("--model", str(bundle), "--port", str(port), "--threads", "1"),
            *flags,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen[str], url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"the server ended: {process.communicate()}")
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    pytest.fail(f"{url} never answered")


@pytest.mark.parametrize(
    "command", [(), ("serve",), ("convert",), ("eval",), ("train",), ("train", "tiny")]
)
def test_help_comes_without_torch(command: tuple[str, ...]) -> None:
    code = (
        "import sys\nfrom pandagpt.cli import app\n"
        f"try: app([*{command!r}, '--help'])\nexcept SystemExit: pass\n"
        "sys.exit('torch' in sys.modules or 'fastapi' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_serve(golden_bundle: Path) -> None:
    with serving(golden_bundle) as (process, url):
        wait_for(process, f"{url}/health")
        wait_for(process, f"{url}/ready")
        body = {"messages": [{"role": "user", "content": "SECRET"}], "max_tokens": 3}
        body |= {"ignore_eos": True}
        assert httpx.post(f"{url}/v1/chat/completions", json=body).status_code == 200
        assert process.stdout
        shown = [process.stdout.readline() for _ in range(6)]
        assert f"{url}/v1 " in shown[2]
        tried = subprocess.run(
            shown[-1].partition("Try:")[2], shell=True, capture_output=True, text=True, timeout=30
        )
        assert json.loads(tried.stdout)["object"] == "chat.completion"
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "SECRET" not in err
        request, _ = [line for line in map(json.loads, err.splitlines()) if "path" in line]
        assert request["status"] == 200
        assert request["completion_tokens"] == 3
        assert request["media"] == []


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("serve", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "cannot listen" in line
    assert "--port" in line


def test_a_missing_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        load_serving(Settings(model=str(tmp_path)))


def test_settings_reach_the_engine_and_the_api(golden_bundle: Path) -> None:
    settings = Settings(
        model=str(golden_bundle),
        served_model_name="mine",
        max_model_len=64,
        max_num_seqs=300,
        max_num_batched_tokens=700,
        max_queue=7,
        encoder_cache_mb=3,
        threads=1,
    )
    config = engine_config(settings)
    assert (config.max_queue, config.max_model_len) == (7, 64)
    assert (config.media_cache_bytes, config.num_threads) == (3 * 2**20, 1)
    serving, ready = load_serving(settings)
    serving.engine.close()
    assert (serving.model.id, serving.model.max_model_len) == ("mine", 64)
    assert (ready.max_rows, ready.max_model_len) == (300, 64)
    assert "1 thread, float32" in ready.hardware
    assert "700 tokens a step" in ready.hardware
    assert "300 rows x 64 tokens" in ready.capacity


def test_a_context_longer_than_the_model_s(golden_bundle: Path) -> None:
    with pytest.raises(OperatorError, match="--max-model-len 99999"):
        load_serving(Settings(model=str(golden_bundle), max_model_len=99999))


def test_a_damaged_model(golden_bundle: Path, tmp_path: Path) -> None:
    for path in golden_bundle.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = tmp_path / "llm.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    done = run("serve", "--port", "0", "--model", str(tmp_path))
    assert done.returncode == 1
    assert weights.name in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_an_adapter_of_another_model(golden_bundle: Path) -> None:
    done = run("serve", "--port", "0", "--adapter", f"other={golden_bundle}")
    assert done.returncode == 1
    assert (
        f"{golden_bundle}: adapter.safetensors: 16 tensors are missing"
        in done.stderr.splitlines()[-1]
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("fields", "is_warned"),
    [({"host": "0.0.0.0"}, True), ({"host": "0.0.0.0", "api_key": "k"}, False), ({}, False)],
)
def test_open_to_the_network_without_a_key(
    fields: dict[str, str],
    is_warned: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serve_command, "_run", lambda settings, listener: listener.close())
    serve_command.serve(settings=Settings.model_validate({"port": 0, **fields}))
    assert ("PANDAGPT_API_KEY" in capsys.readouterr().err) is is_warned


def test_idle_connections_have_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_command, "_run", lambda settings, listener: listener.close())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        serve_command.serve(settings=Settings(port=0))
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert allowed > 512


def test_convert_says_what_is_wrong(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pth")
    done = run(
        *("convert", "--imagebind", missing, "--vicuna", str(tmp_path)),
        *("--pandagpt", missing, "--out", str(tmp_path / "out")),
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_ctrl_c_while_loading(golden_bundle: Path) -> None:
    with serving(golden_bundle) as (process, url):
        wait_for(process, f"{url}/health")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
