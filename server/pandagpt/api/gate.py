"""The gate of the house: new work is let in or refused before its body is read.

Work is every POST. Pure ASGI, inside `Auth`, which tells whose it is.
"""

from contextlib import ExitStack

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pandagpt.api.errors import response_of
from pandagpt.api.places import Places
from pandagpt.api.rate import Bucket
from pandagpt.api.serving import ModelHolder
from pandagpt.errors import Overloaded, PandaError, RateLimited


class Gate:
    def __init__(
        self, app: ASGIApp, holder: ModelHolder, places: Places, requests_per_minute: int
    ) -> None:
        """`requests_per_minute` 0: any number."""
        self.app = app
        self.holder = holder
        self.places = places
        self.requests_per_minute = requests_per_minute
        # As many as there are keys.
        self.buckets: dict[str, Bucket] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        caller = scope["state"].get("caller", "")
        bucket = self._bucket(caller)
        headers: dict[str, str] = {}

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        with ExitStack() as stack:
            try:
                self.holder.refuse_if_draining()
                stack.enter_context(self.places.taken(caller, self.holder.num_rows))
                if bucket:
                    bucket.take()
            except (Overloaded, RateLimited) as error:
                headers |= bucket.headers() if bucket else {}
                await _refusal(scope, error)(scope, receive, send_with_limits)
                return
            headers |= bucket.headers() if bucket else {}
            await self.app(scope, receive, send_with_limits)

    def _bucket(self, caller: str) -> Bucket | None:
        if not self.requests_per_minute:
            return None
        return self.buckets.setdefault(caller, Bucket(self.requests_per_minute))


def _refusal(scope: Scope, error: PandaError) -> ASGIApp:
    log = scope["state"]["log"]
    log.fields["error"] = type(error).__name__
    return response_of(error, log.request_id)
