"""A server and its engine's process: what each does when the other ends, and who loads torch."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from pandagpt.cli.loading import load_serving
from pandagpt.engine.client import EngineClient
from pandagpt.engine.process import EngineProcess
from pandagpt.engine.supervisor import SupervisedEngine
from pandagpt.errors import ShuttingDown
from pandagpt.settings import Settings
from tests.api.conftest import serving
from tests.api.test_errors import CHAT, HELLO, assert_error
from tests.engine.test_process import wait_until

LONG: dict[str, Any] = {**HELLO, "max_tokens": 150, "min_tokens": 150, "stream": True}

SERVE_AND_ASK = """
import sys
import httpx
from pandagpt import logs
from pandagpt.cli.loading import load_serving
from pandagpt.settings import Settings
from tests.api.conftest import serving

logs.configure("json")
settings = Settings(model=sys.argv[1], threads=1)
with serving(settings, lambda: load_serving(settings)[0]) as url:
    image = {"type": "image_url", "image_url": {"url": "sample://red_car.png"}}
    film = {"type": "video_url", "video_url": {"url": "sample://train.mp4"}}
    for part in (image, film):
        body = {"messages": [{"role": "user", "content": [part]}], "max_tokens": 3}
        print(httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).status_code)
print("loaded:", *sorted({"torch", "safetensors", "transformers"} & set(sys.modules)))
"""


def test_the_server_never_loads_torch(golden_bundle: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVE_AND_ASK, str(golden_bundle)], capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["200", "200", "loaded:"], done.stderr


def kill(engine: EngineClient) -> None:
    assert isinstance(engine._link, SupervisedEngine)
    engine._link._process._process.kill()


@pytest.fixture
def engines() -> list[EngineClient]:
    return []


@pytest.fixture
def url(golden_bundle: Path, engines: list[EngineClient]) -> Iterator[str]:
    settings = Settings(model=str(golden_bundle), threads=1)

    def load() -> Any:
        loaded, _ = load_serving(settings)
        assert isinstance(loaded.engine, EngineClient)
        engines.append(loaded.engine)
        return loaded

    with serving(settings, load) as url:
        yield url


def test_a_killed_engine_ends_its_streams_and_nothing_else(
    url: str, engines: list[EngineClient]
) -> None:
    with httpx.Client(base_url=url, timeout=30) as client:
        with client.stream("POST", CHAT, json=LONG) as response:
            lines = response.iter_lines()
            while '"content":""' in (line := next(lines)) or not line:
                pass
            kill(engines[0])
            killed_at = time.perf_counter()
            rest = [line for line in lines if line]
        assert time.perf_counter() - killed_at < 2
        assert rest[-1] == "data: [DONE]"
        assert json.loads(rest[-2].removeprefix("data: "))["error"]["code"] == "internal_error"
        assert client.get("/health").status_code == 200
        assert_error(client.get("/ready"), 503, "server_overloaded")
        assert client.post(CHAT, json=HELLO | {"max_tokens": 3}).status_code == 200
        assert client.get("/ready").status_code == 200


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_streams_end_before_the_server_does(
    golden_bundle: Path, number: signal.Signals, code: int
) -> None:
    """Both signals go to the whole group, as a terminal and a service manager send them."""
    command = [sys.executable, "-m", "pandagpt", "serve", "--port", "0", "--threads", "1"]
    server = subprocess.Popen(
        [*command, "--model", str(golden_bundle)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert server.stdout
        shown = next(line for line in server.stdout if "/v1 " in line)
        url = shown.split()[1].removesuffix("/v1")
        with httpx.stream("POST", f"{url}{CHAT}", json=LONG, timeout=30) as response:
            lines = response.iter_lines()
            next(lines)
            os.killpg(server.pid, number)
            rest = [line for line in lines if line]
        _, err = server.communicate(timeout=20)
    finally:
        server.kill()
        server.communicate()
    assert rest[-1] == "data: [DONE]"
    assert '"finish_reason":"length"' in rest[-2]
    assert server.returncode == code, err
    assert "Traceback" not in err


def test_whole_answers_outlive_a_killed_engine(url: str, engines: list[EngineClient]) -> None:
    body = {**LONG, "stream": False, "temperature": 0}
    with httpx.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(16) as pool:
        expected = client.post(CHAT, json=body).json()["choices"]
        asked = [pool.submit(client.post, CHAT, json=body) for _ in range(16)]
        wait_until(lambda: engines[0].num_requests + sum(each.done() for each in asked) == 16)
        kill(engines[0])
        answers = [future.result() for future in asked]
    assert [answer.status_code for answer in answers] == [200] * 16
    assert all(answer.json()["choices"] == expected for answer in answers)


def test_who_comes_meanwhile_waits(url: str, engines: list[EngineClient]) -> None:
    body = HELLO | {"max_tokens": 3, "temperature": 0}
    with httpx.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(8) as pool:
        expected = client.post(CHAT, json=body).json()["choices"]
        kill(engines[0])
        wait_until(lambda: client.get("/ready").status_code == 503)
        asked = [pool.submit(client.post, CHAT, json=body) for _ in range(8)]
        vectors = client.post("/v1/embeddings", json={"input": "a red car"})
        answers = [future.result() for future in asked]
    assert vectors.status_code == 200
    assert [answer.json()["choices"] for answer in answers] == [expected] * 8


def test_who_waits_for_an_engine_is_told_of_the_end(
    url: str, engines: list[EngineClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EngineProcess, "wait_until_ready", lambda process: time.sleep(60))
    kill(engines[0])
    wait_until(lambda: not engines[0].is_ready)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(httpx.post, f"{url}{CHAT}", json=HELLO, timeout=30)
        time.sleep(0.2)
        assert not asked.done()
        engines[0].fail_open(ShuttingDown())
        assert_error(asked.result(), 503, "server_overloaded")


@contextmanager
def served(bundle: Path, *flags: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "pandagpt", "serve", "--port", "0", "--threads", "1"]
    server = subprocess.Popen(
        [*command, "--model", str(bundle), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout
        shown = next(line for line in server.stdout if "/v1 " in line)
        yield server, shown.split()[1].removesuffix("/v1")
    finally:
        server.kill()
        server.communicate()


def upload_that_stalls(url: str) -> socket.socket:
    """Open work, for as long as nobody ends it."""
    where = httpx.URL(url)
    sock = socket.create_connection((where.host, where.port or 0), timeout=20)
    sock.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n".encode())
    return sock


def test_who_comes_while_the_server_drains_is_told(golden_bundle: Path) -> None:
    with (
        served(golden_bundle, "--drain-s", "0.5") as (server, url),
        upload_that_stalls(url) as upload,
    ):
        httpx.get(f"{url}/health")
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: httpx.get(f"{url}/ready").status_code == 503)
        refused = httpx.post(f"{url}{CHAT}", json=HELLO)
        assert_error(refused, 503, "server_overloaded")
        assert refused.headers["connection"] == "close"
        assert refused.headers["retry-after"]
        assert httpx.get(f"{url}/health").status_code == 200
        assert upload.recv(4096).startswith(b"HTTP/1.1 503 ")
        _, err = server.communicate(timeout=10)
    assert server.returncode == 0
    assert "Traceback" not in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_at_once(
    golden_bundle: Path, number: signal.Signals, code: int
) -> None:
    with served(golden_bundle) as (server, url), upload_that_stalls(url):
        httpx.get(f"{url}/health")
        server.send_signal(number)
        wait_until(lambda: httpx.get(f"{url}/ready").status_code == 503)
        server.send_signal(number)
        started_at = time.monotonic()
        assert server.wait(10) == code
        assert time.monotonic() - started_at < 1
