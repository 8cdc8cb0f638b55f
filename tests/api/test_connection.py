"""Slow heads, large heads, no HTTP at all, and clients that take nothing: over real sockets."""

import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from pandagpt.api.serving import ServedModel, Serving
from pandagpt.engine.request import Delta
from pandagpt.settings import Settings
from tests.api.conftest import ScriptedEngine, serving
from tests.api.test_disconnect import read_until, send, wait_until

SETTINGS = Settings(
    head_timeout_s=0.3, body_timeout_s=0.3, client_stall_s=0.3, sse_keep_alive_interval=0.02
)
HEALTH = b"GET /health HTTP/1.1\r\nhost: x\r\n"


@pytest.fixture
def port(engine: ScriptedEngine, served_model: ServedModel) -> Iterator[int]:
    with serving(SETTINGS, lambda: Serving(engine, served_model)) as url:
        yield httpx.URL(url).port or 0


def connection(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def rest_of(sock: socket.socket) -> bytes:
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def assert_refusal(answer: bytes, status: int, code: str | None) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"\r\nx-request-id: req_" in head
    assert b"\r\nconnection: close" in head
    error = json.loads(body)["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, None)


def test_a_connection_that_says_nothing_is_closed(port: int) -> None:
    with connection(port) as sock:
        assert rest_of(sock) == b""


def test_a_head_that_drips(port: int) -> None:
    started_at = time.monotonic()
    with connection(port) as sock:
        sock.sendall(HEALTH)
        for _ in range(3):
            time.sleep(0.05)
            sock.sendall(b"x: y\r\n")
        assert_refusal(rest_of(sock), 408, "request_timeout")
    assert 0.25 < time.monotonic() - started_at < 2


def test_a_second_head_that_drips(port: int) -> None:
    with connection(port) as sock:
        sock.sendall(HEALTH + b"\r\n")
        read_until(sock, b"ok")
        time.sleep(0.4)
        sock.sendall(HEALTH)
        assert_refusal(rest_of(sock), 408, "request_timeout")


@pytest.mark.parametrize("line", [b"x" * 70_000 + b": y\r\n", b"a: b\r\n" * 101])
def test_a_large_head(port: int, line: bytes) -> None:
    with connection(port) as sock:
        sock.sendall(HEALTH + line + b"\r\n")
        assert_refusal(rest_of(sock), 431, "request_head_too_large")


def test_a_header_without_an_end(port: int) -> None:
    with connection(port) as sock:
        sock.sendall(HEALTH + b"x: ")
        sock.sendall(b"y" * 30_000)
        time.sleep(0.05)
        sock.sendall(b"y" * 70_000)
        assert_refusal(rest_of(sock), 431, "request_head_too_large")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /health HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_http(port: int, request_bytes: bytes) -> None:
    with connection(port) as sock:
        sock.sendall(request_bytes)
        assert_refusal(rest_of(sock), 400, None)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/files"])
def test_a_body_that_stalls(port: int, path: str) -> None:
    kind = "multipart/form-data; boundary=B" if "files" in path else "application/json"
    with connection(port) as sock:
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\n"
        sock.sendall(f"{head}content-length: 5000000\r\n\r\n".encode() + b"--B\r\n")
        answer = rest_of(sock)
    assert b'"request_timeout"' in answer
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer


def test_a_body_that_nobody_reads_cannot_hold_the_connection(port: int) -> None:
    with connection(port) as sock:
        sock.sendall(b"POST /nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n\r\n")
        read_until(sock, b"Unknown path")
        for _ in range(3):
            sock.sendall(b"a")
            time.sleep(0.05)
        assert rest_of(sock) == b""


def test_a_body_that_is_too_large_hears_so(port: int) -> None:
    with httpx.Client() as client:
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        for _ in range(3):
            response = client.post(url, content=bytes(70_000_000))
            assert response.status_code == 413
            assert response.headers["connection"] == "close"


def test_a_connection_lives_on_after_a_body_that_nobody_read(port: int) -> None:
    with connection(port) as sock:
        sock.sendall(b"POST /nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n")
        read_until(sock, b"Unknown path")
        sock.sendall(b"abcde")
        time.sleep(0.5)
        sock.sendall(HEALTH + b"\r\n")
        assert b"200 OK" in read_until(sock, b"ok")


def test_a_long_answer_may_take_longer_than_a_head(port: int, engine: ScriptedEngine) -> None:
    engine.script = [Delta(0, "Hi", (1,))]
    with send(port, stream=True) as sock:
        read_until(sock, b'"Hi"')
        time.sleep(0.5)
        sock.settimeout(5)
        assert b"keep-alive" in read_until(sock, b": keep-alive")
    wait_until(lambda: engine.num_aborted == 1)


def test_who_takes_nothing_is_let_go(port: int, engine: ScriptedEngine) -> None:
    engine.script = [Delta(0, "x" * 10_000_000, (1,))]
    sock = send(port, stream=True)
    wait_until(lambda: engine.num_aborted == 1)
    with sock:
        assert b"[DONE]" not in rest_of(sock)


def test_who_takes_a_little_is_not(port: int, engine: ScriptedEngine) -> None:
    engine.script = [Delta(0, "x" * 8_000_000, (1, 2), (), "stop")]
    with send(port, stream=True) as sock:
        data = bytearray()
        while not data.endswith(b"[DONE]\n\n\r\n0\r\n\r\n"):
            data += sock.recv(400_000)
            time.sleep(0.02)
    assert engine.num_aborted == 0
