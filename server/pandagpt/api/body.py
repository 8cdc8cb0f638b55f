"""The body of a request to a validated model, whatever content type the client declared.

Large bodies wait for room before they are read, and are parsed by one thread, one at a time.
"""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TypeVar

import anyio.to_thread
from fastapi import HTTPException, Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pandagpt.api.room import Room
from pandagpt.api.schemas.request import Model, parse_body
from pandagpt.errors import InvalidJson

Argument = TypeVar("Argument")
Result = TypeVar("Result")

# Parsing and validating this much takes about two milliseconds; more is done off the event loop.
MAX_INLINE_BYTES = 32 * 1024
# So small a body takes no room.
MAX_FREE_BYTES = 2**20
BODIES_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Admission:
    """One request's right to hold a large body, until its answer begins."""

    room: Room
    parsing: anyio.CapacityLimiter
    max_body_bytes: int
    held: AsyncExitStack

    async def enter(self, headers: Headers) -> None:
        # BodyLimit has read it as a number before; where it is absent, any length may come.
        num_bytes = int(headers.get("content-length", self.max_body_bytes))
        if num_bytes > MAX_FREE_BYTES:
            await self.held.enter_async_context(self.room.held(num_bytes))


class BodyRoom:
    """Bounds the bytes of bodies that are read, parsed and decoded at once."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, max_queue_seconds: float) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.room = Room(BODIES_AT_ONCE * max_body_bytes, max_queue_seconds)
        # Each further thread would keep the event loop waiting for its turn at the interpreter.
        self.parsing = anyio.CapacityLimiter(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as held:
            admission = Admission(self.room, self.parsing, self.max_body_bytes, held)
            scope.setdefault("state", {})["body"] = admission

            async def send_and_leave(message: Message) -> None:
                if message["type"] == "http.response.start":
                    await held.aclose()
                await send(message)

            await self.app(scope, receive, send_and_leave)


async def read_body(request: Request, model: type[Model]) -> Model:
    """Raises InvalidJson, HTTPException 415 and what `parse_body` raises.

    JSON under another content type is accepted, since `curl -d` declares a form.
    """
    admission: Admission = request.scope["state"]["body"]
    await admission.enter(request.headers)
    body = await _received(request)
    try:
        if len(body) <= MAX_INLINE_BYTES:
            return parse_body(model, body)
        return await anyio.to_thread.run_sync(parse_body, model, body, limiter=admission.parsing)
    except InvalidJson:
        kind = request.headers.get("content-type", "application/json").partition(";")[0].strip()
        if kind.lower() == "application/json":
            raise
        message = f"The body is '{kind[:64]}'. Send JSON, as 'Content-Type: application/json'."
        raise HTTPException(415, message) from None


async def aside(
    request: Request, function: Callable[[Argument], Result], argument: Argument
) -> Result:
    """By the one thread that reads large bodies, where this request's is large."""
    admission: Admission = request.scope["state"]["body"]
    if int(request.headers.get("content-length", MAX_INLINE_BYTES + 1)) <= MAX_INLINE_BYTES:
        return function(argument)
    return await anyio.to_thread.run_sync(function, argument, limiter=admission.parsing)


async def _received(request: Request) -> bytearray:
    """Grown as it comes: joining the chunks in the end would stop the event loop for 40 ms."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
    return body
