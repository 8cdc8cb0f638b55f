"""The body of a request to a validated model, whatever content type the client declared."""

from fastapi import HTTPException, Request
from starlette.concurrency import run_in_threadpool

from pandagpt.api.schemas.request import Model, parse_body
from pandagpt.errors import InvalidJson

# Parsing this much takes about a millisecond; more is done off the event loop.
MAX_INLINE_BYTES = 256 * 1024


async def read_body(request: Request, model: type[Model]) -> Model:
    """Raises InvalidJson, HTTPException 415 and what `parse_body` raises.

    JSON under another content type is accepted, since `curl -d` declares a form.
    """
    body = await request.body()
    try:
        if len(body) <= MAX_INLINE_BYTES:
            return parse_body(model, body)
        return await run_in_threadpool(lambda: parse_body(model, body))
    except InvalidJson:
        kind = request.headers.get("content-type", "application/json").partition(";")[0].strip()
        if kind.lower() == "application/json":
            raise
        message = f"The body is '{kind[:64]}'. Send JSON, as 'Content-Type: application/json'."
        raise HTTPException(415, message) from None
