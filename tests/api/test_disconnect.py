"""A client that leaves, at any moment, frees what was done for it; one that waits hears so."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from pandagpt.api.serving import ServedModel, Serving
from pandagpt.engine.request import Delta
from pandagpt.settings import Settings
from tests.api.conftest import ScriptedEngine, serving

PATIENCE_SECONDS = 5


@pytest.fixture
def port(engine: ScriptedEngine, served_model: ServedModel) -> Iterator[int]:
    settings = Settings(sse_keep_alive_interval=0.05)
    with serving(settings, lambda: Serving(engine, served_model)) as url:
        yield httpx.URL(url).port or 0


BODIES: dict[str, dict[str, Any]] = {
    "chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
    "completions": {"prompt": "Hi"},
    "responses": {"input": "Hi"},
}
every_path = pytest.mark.parametrize("path", BODIES)


def send(port: int, stream: bool, path: str = "chat/completions") -> socket.socket:
    body = json.dumps(BODIES[path] | {"stream": stream})
    connection = socket.create_connection(("127.0.0.1", port))
    head = f"POST /v1/{path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    connection.sendall((head + body).encode())
    return connection


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def read_until(connection: socket.socket, wanted: bytes) -> bytes:
    data = b""
    while wanted not in data:
        data += connection.recv(4096)
    return data


@every_path
@pytest.mark.parametrize("stream", [False, True])
def test_before_the_first_token(engine: ScriptedEngine, port: int, path: str, stream: bool) -> None:
    engine.script = []
    connection = send(port, stream, path)
    wait_until(lambda: len(engine.requests) == 1)
    connection.close()
    wait_until(lambda: engine.num_aborted == 1)


@every_path
@pytest.mark.parametrize("stream", [False, True])
def test_in_the_middle(engine: ScriptedEngine, port: int, path: str, stream: bool) -> None:
    engine.script = [Delta(0, "Hi", (1,))]
    connection = send(port, stream, path)
    if stream:
        assert b"200 OK" in read_until(connection, b'"Hi"')
    wait_until(lambda: len(engine.requests) == 1)
    connection.close()
    wait_until(lambda: engine.num_aborted == 1)


def test_every_prompt_of_a_completion_is_freed(engine: ScriptedEngine, port: int) -> None:
    engine.script = [Delta(0, "Hi", (1,))]
    body = json.dumps({"prompt": ["a", "b", "c"], "stream": True})
    connection = socket.create_connection(("127.0.0.1", port))
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    connection.sendall((head + body).encode())
    read_until(connection, b'"Hi"')
    connection.close()
    wait_until(lambda: engine.num_aborted == 3)


def test_an_answer_that_is_over_aborts_nothing(engine: ScriptedEngine, port: int) -> None:
    for stream in (False, True):
        body = {"messages": [{"role": "user", "content": "Hi"}], "stream": stream}
        httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body)
    assert len(engine.requests) == 2
    assert engine.num_aborted == 0


def test_silence_is_broken(engine: ScriptedEngine, port: int) -> None:
    engine.script = [Delta(0, "Hi", (1,))]
    with send(port, stream=True) as connection:
        data = read_until(connection, b": keep-alive\n\n")
        data += read_until(connection, b": keep-alive\n\n")
    assert data.index(b'"Hi"') < data.index(b": keep-alive")
