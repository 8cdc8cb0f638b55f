"""What every request passes before a route sees it: request id and log line, whole path, key.

Pure ASGI, so that streams pass through unbuffered. Refusals have the shape of errors.py.
"""

import asyncio
import hashlib
import hmac
import re
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pandagpt.api.errors import http_response, response_of
from pandagpt.errors import EngineFailure, ShuttingDown
from pandagpt.logs import get_logger
from pandagpt.metrics import HttpMetrics

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

PROBES = frozenset({"/health", "/ready"})
METRICS = "/metrics"
OPEN_PATHS = PROBES | {"/docs", "/openapi.json"}


@dataclass(slots=True)
class RequestLog:
    """What a request's one log line will say; routes add fields as they learn them."""

    request_id: str
    fields: dict[str, Any] = field(default_factory=dict)
    counts: Callable[[], dict[str, Any]] = dict


class RequestContext:
    """Gives each request its id, logs and counts it once, and turns a crash into a plain 500."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        log = RequestLog(_request_id(Headers(scope=scope).get("x-request-id")))
        scope.setdefault("state", {})["log"] = log
        started_at, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = log.request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except asyncio.CancelledError:
            # The server cancels what outlives its drain, and would take it for a crash.
            log.fields["error"] = "shutdown"
            if not status:
                await response_of(ShuttingDown(), log.request_id)(scope, receive, send_with_id)
        except Exception:
            log.fields["error"] = "crash"
            get_logger().exception("request crashed", request_id=log.request_id)
            if not status:
                response = response_of(EngineFailure("crash"), log.request_id)
                await response(scope, receive, send_with_id)
        finally:
            self._count(scope, status)
            _write_log(scope, log, status, time.perf_counter() - started_at)

    def _count(self, scope: Scope, status: int) -> None:
        if status:
            # The path as the router knows it: what stands in the request, clients choose.
            route = getattr(scope.get("route"), "path", None)
            self.metrics.answered(route, status, is_probe=scope["path"] in PROBES)


def _request_id(given: str | None) -> str:
    return given if given and REQUEST_ID.fullmatch(given) else new_request_id()


def new_request_id() -> str:
    return f"req_{uuid.uuid4().hex}"


def _write_log(scope: Scope, log: RequestLog, status: int, seconds: float) -> None:
    # They come every few seconds, and say nothing that "ready" and "shutting down" do not.
    if scope["path"] in PROBES | {METRICS} and status in (200, 503):
        return
    get_logger().info(
        "request",
        request_id=log.request_id,
        method=scope["method"],
        # Still percent-encoded, so that no control character reaches a terminal.
        path=scope["raw_path"].decode("ascii", "replace")[:200],
        status=status,
        ms=round(seconds * 1000, 1),
        **log.fields,
        **log.counts(),
    )


class WholePath:
    """Refuses a path that ends in a line break: Starlette's routes end in `$`, which would
    match before it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith("\n"):
            path = scope["raw_path"].decode("ascii", "replace")[:200]
            refusal = http_response(404, f"Unknown path: {scope['method']} {path}")
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)


class Auth:
    """Asks every path outside `open_paths` for a key, if keys are set.

    A key's digest is its caller's name for what must not be shared between callers.
    """

    def __init__(
        self, app: ASGIApp, api_keys: tuple[str, ...], open_paths: Collection[str]
    ) -> None:
        self.app = app
        self.open_paths = open_paths
        self.digests = [_digest(key) for key in api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self.digests and scope["path"] not in self.open_paths:
            authorization = Headers(scope=scope).get("authorization", "")
            given = _key_digest(authorization)
            if not self._is_allowed(given):
                await _key_refusal(bool(authorization))(scope, receive, send)
                return
            scope.setdefault("state", {})["caller"] = given.hex()
        await self.app(scope, receive, send)

    def _is_allowed(self, given: bytes) -> bool:
        # All keys are compared, each in constant time: timing tells nothing about any.
        matches = [hmac.compare_digest(given, digest) for digest in self.digests]
        return any(matches)


def _key_digest(authorization: str) -> bytes:
    """No bytes, which equal no digest, where it is no bearer's key."""
    scheme, _, key = authorization.partition(" ")
    return _digest(key.strip()) if scheme.lower() == "bearer" else b""


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _key_refusal(has_header: bool) -> ASGIApp:
    message = (
        "Incorrect API key provided."
        if has_header
        else "You did not provide an API key. Send it as: Authorization: Bearer YOUR_KEY"
    )
    return http_response(401, message, {"www-authenticate": "Bearer"})
