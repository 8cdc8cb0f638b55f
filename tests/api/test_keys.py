"""Every path is closed by default where keys are set, however it is written."""

import socket
from collections.abc import Iterator
from pathlib import Path
from random import Random

import httpx
import pytest
from fastapi.routing import APIRoute

from pandagpt.api.app import create_app
from pandagpt.api.serving import ServedModel, Serving
from pandagpt.errors import OperatorError
from pandagpt.media.decoder import DecoderPool
from pandagpt.settings import Settings
from tests.api.conftest import ScriptedEngine, serving, unexpected
from tests.bench.key_timing import KEY, Timing, measure

OPEN = {"/health", "/ready", "/metrics", "/docs", "/openapi.json"}
SETTINGS = Settings.model_validate({"api_key": "first, second"})
TRICKS = [
    "//v1/models",
    "/v1//models",
    "/v1/./models",
    "/./v1/models",
    "/health/../v1/models",
    "/health/..%2fv1/models",
    "/V1/models",
    "/v1/models/",
    "/v1%2fmodels",
    "/v1/models%00",
    "/v1/models%0a",
    "/v1/models?/health",
    "/v1/models#/health",
    "/v1/models;/health",
    "/%76%31/models",
    "/health%2f..%2fv1%2fmodels",
    "http://x/v1/models",
    "http://x/health/../v1/models",
    "http:///health/v1/models",
    "/health/",
    "/health%0a",
    "/health%00/v1/models",
    "\\v1\\models",
    "/v1/models/.",
    "/v1/models/..;/health",
    "/health;/../v1/models",
    "/v1/%2e/models",
    "/health/%2e%2e/v1/models",
    "/health%3f/../v1/models",
    "/v1/models%20",
    "/v1/models%09",
    "/v1/models%3f",
    "/v1/models%23/health",
    "/v1/models.json",
    "//health/v1/models",
    "/docs/../v1/models",
    "/openapi.json/v1/models",
    "/metrics/v1/models",
    "https://x/v1/models",
    "http://health/v1/models",
    "http://x:80/v1/models",
]


@pytest.fixture(scope="module")
def port(served_model: ServedModel) -> Iterator[int]:
    with serving(SETTINGS, lambda: Serving(ScriptedEngine(), served_model)) as url:
        yield httpx.URL(url).port or 0


def status_of(port: int, target: str, headers: str = "", method: str = "GET") -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        kind = "upgrade" if headers.startswith("upgrade") else "close"
        head = f"{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: {kind}\r\n{headers}\r\n"
        sock.sendall(head.encode("latin-1"))
        return int(sock.recv(65536).split()[1])


@pytest.mark.parametrize("target", TRICKS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "get", "MERGE"])
def test_no_trick_opens_a_path(port: int, target: str, method: str) -> None:
    assert status_of(port, target, method=method) in (400, 401)


@pytest.mark.parametrize(
    ("method", "target"),
    [("OPTIONS", "*"), ("CONNECT", "x:80"), ("CONNECT", "/v1/models"), ("GET", "v1/models")],
)
def test_no_other_target_does(port: int, method: str, target: str) -> None:
    assert status_of(port, target, method=method) in (400, 401)


@pytest.mark.parametrize(
    "header",
    [
        "x-original-url: /health",
        "x-rewrite-url: /health",
        "x-forwarded-prefix: /health",
        "x-http-method-override: OPTIONS",
        "authorization: Bearer ",
        "authorization: Bearer first,second",
        "authorization: Bearer wrong\r\nauthorization: Bearer first",
        "x-api-key: first",
        "upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: QUFBQQ==",
    ],
)
def test_no_header_does(port: int, header: str) -> None:
    assert status_of(port, "/v1/models", f"{header}\r\n") == 401


def test_the_right_key_does(port: int) -> None:
    for key in ("first", "second"):
        assert status_of(port, "/v1/models", f"authorization: Bearer {key}\r\n") == 200
        assert status_of(port, "http://x/v1/models", f"authorization: Bearer {key}\r\n") == 200


def test_every_route_is_closed_but_those_named(port: int, decoders: DecoderPool) -> None:
    app = create_app(SETTINGS, lambda: pytest.fail("not loaded"), unexpected, decoders)
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    paths = {route.path for route in routes} | set(app.openapi()["paths"])
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for path in paths - OPEN:
            for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"):
                assert client.request(method, path).status_code == 401, (method, path)
        for path in OPEN:
            assert client.get(path).status_code == 200


def test_time_tells_nothing_of_a_key(served_model: ServedModel) -> None:
    settings = Settings.model_validate({"api_key": KEY})
    with serving(settings, lambda: Serving(ScriptedEngine(), served_model)) as url:
        timing = measure(url, 300)
    assert not timing.tells, str(timing)


def test_what_takes_longer_is_noticed() -> None:
    lot = Random(1)
    far = [lot.expovariate(1) for _ in range(300)]
    assert not Timing([lot.expovariate(1) for _ in range(300)], far).tells
    assert Timing([lot.expovariate(1) + 0.5 for _ in range(300)], far).tells
    assert Timing(far[:100], [value + 0.5 for value in far]).tells


def test_keys_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# of the team\nthird\n\n  fourth  # Ada\n")
    settings = Settings.model_validate({"api_key": "first", "api_key_file": path})
    assert settings.api_keys == ("first", "third", "fourth")
    assert "third" not in repr(settings)


@pytest.mark.parametrize("content", [b"", b"# none\n", b"\xff\xfe"])
def test_a_file_without_keys(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    with pytest.raises(OperatorError, match="--api-key-file"):
        _ = Settings(api_key_file=path).api_keys
    with pytest.raises(OperatorError, match="cannot be read"):
        _ = Settings(api_key_file=tmp_path / "none").api_keys
