"""How large a body may be, and how slowly it may come: the one rule for every route.

A sender has some seconds, and more for each byte that has come. Only the time counts in which
the server waits for the sender.
"""

import re
import time
from asyncio import timeout
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pandagpt.api.errors import http_response
from pandagpt.settings import MEBIBYTE


@dataclass(frozen=True, slots=True)
class BodyRule:
    max_bytes: int
    grace_seconds: float = 30
    min_bytes_per_second: float = 50_000


class BodyLimit:
    """Refuses a body over the limits: by its declared length, or while it is being read."""

    def __init__(self, app: ASGIApp, rule: BodyRule) -> None:
        self.app = app
        self.rule = rule

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self._is_too_large(Headers(scope=scope).get("content-length", "0")):
            await self._too_large().response()(scope, receive, send)
            return
        has_started = False

        async def send_noted(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self.app(scope, self._bounded(receive), send_noted)
        except _Refused as refused:
            if not has_started:
                await refused.response()(scope, receive, send)

    def _bounded(self, receive: Receive) -> Receive:
        rule, num_bytes, is_whole = self.rule, 0, False
        seconds_left = rule.grace_seconds

        async def receive_bounded() -> Message:
            nonlocal num_bytes, seconds_left, is_whole
            if is_whole:
                return await receive()
            asked_at = time.monotonic()
            try:
                async with timeout(seconds_left):
                    message = await receive()
            except TimeoutError:
                raise self._too_slow() from None
            added = len(message.get("body", b""))
            num_bytes += added
            seconds_left += added / rule.min_bytes_per_second - (time.monotonic() - asked_at)
            is_whole = not message.get("more_body", False)
            if num_bytes > rule.max_bytes:
                raise self._too_large()
            return message

        return receive_bounded

    def _is_too_large(self, declared: str) -> bool:
        # At most twelve digits: `int` itself refuses thousands of them.
        return not re.fullmatch("[0-9]{1,12}", declared) or int(declared) > self.rule.max_bytes

    def _too_large(self) -> "_Refused":
        limit_mb = self.rule.max_bytes // MEBIBYTE
        return _Refused(
            413,
            f"The request body is larger than the limit of {limit_mb} MB. "
            "Send fewer or smaller media.",
        )

    def _too_slow(self) -> "_Refused":
        grace, rate = self.rule.grace_seconds, self.rule.min_bytes_per_second / 1000
        return _Refused(
            408,
            f"The body came too slowly: within {grace:g} s, and 1 s more for every {rate:g} kB, "
            "it must be here.",
        )


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    def response(self) -> ASGIApp:
        return http_response(self.status, self.message, {"connection": "close"})
