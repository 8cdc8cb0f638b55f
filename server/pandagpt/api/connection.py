"""One client's connection, as uvicorn speaks HTTP on it, with the bounds that uvicorn lacks.

A head has to come whole within a time and a size, whoever reads too slowly is let go, and what
is no HTTP is refused in the same shape as everything else.
"""

import asyncio
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from pandagpt.api.errors import http_error_content
from pandagpt.api.middleware import new_request_id


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """`stall_seconds`: how long a client may take nothing of what waits for it."""

    head_seconds: float = 15
    stall_seconds: float = 60
    max_head_bytes: int = 64 * 1024
    max_headers: int = 100


class Connection(HttpToolsProtocol):
    limits = ConnectionLimits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._refusal = (HTTPStatus.BAD_REQUEST, "The request is no valid HTTP.")
        self._is_in_head = False
        self._num_head_bytes = 0
        self._is_over = False
        self._receiving: asyncio.TimerHandle | None = None
        self._stalling: asyncio.TimerHandle | None = None

    @classmethod
    def limited(cls, limits: ConnectionLimits) -> type["Connection"]:
        """uvicorn makes the connections itself, and takes a class."""
        return type(cls.__name__, (cls,), {"limits": limits})

    # -- what comes in

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._expect_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        if self._stalling:
            self._stalling.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        was_in_head = self._is_in_head
        super().data_received(data)
        # The parser tells of a header once it is whole: of one without an end, never.
        if was_in_head and self._is_in_head:
            self._num_head_bytes += len(data)
            if self._num_head_bytes > self.limits.max_head_bytes:
                self._refuse(*self._too_large())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head, self._num_head_bytes = True, 0
        self._expect_soon()

    def on_headers_complete(self) -> None:
        num_bytes = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        is_large = num_bytes > self.limits.max_head_bytes
        if is_large or len(self.headers) > self.limits.max_headers:
            self._refusal = self._too_large()
            raise ValueError("the parser stops, and `send_400_response` is called")
        self._is_in_head = False
        self._expect_nothing()
        super().on_headers_complete()
        self.cycle.transport = _Polite(self)

    def on_message_complete(self) -> None:
        self._expect_nothing()
        super().on_message_complete()
        if self._is_over:
            self.transport.close()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # Nobody reads the rest of this body, so nobody else watches over it.
        if not self.pipeline and self.cycle.response_complete and self.cycle.more_body:
            self._expect_soon()
        if self.transport.is_closing():
            # What was said last may still wait for a client who never takes it.
            self.loop.call_later(self.limits.stall_seconds, self.transport.abort)

    def _expect_soon(self) -> None:
        self._expect_nothing()
        self._receiving = self.loop.call_later(self.limits.head_seconds, self._give_up)

    def _expect_nothing(self) -> None:
        if self._receiving:
            self._receiving.cancel()
            self._receiving = None

    def _give_up(self) -> None:
        if self._is_in_head and self.cycle and not self.cycle.response_complete:
            # An earlier request is still being answered: this is the last one then.
            self.cycle.keep_alive = False
        elif self._is_in_head:
            seconds = f"{self.limits.head_seconds:g}"
            message = f"The head of the request did not come within {seconds} seconds."
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, message)
        else:
            self.transport.close()

    # -- what goes out

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalling:
            self._stalling.cancel()
            self._stalling = None

    def _watch_reader(self, num_waiting: int) -> None:
        self._stalling = self.loop.call_later(
            self.limits.stall_seconds, self._check_reader, num_waiting
        )

    def _check_reader(self, num_waited: int) -> None:
        num_waiting = self.transport.get_write_buffer_size()
        if num_waiting < num_waited:
            self._watch_reader(num_waiting)
        else:
            self.transport.abort()

    def end(self) -> None:
        """Closes, but first lets a client say what it is at: while it still sends, a connection
        that is closed is reset, and the answer is lost with it."""
        if self.cycle.more_body:
            self._is_over = True
            self.transport.write_eof()
        else:
            self.transport.close()

    # -- refusals that no application has seen

    def send_400_response(self, msg: str) -> None:
        self._refuse(*self._refusal)

    def _too_large(self) -> tuple[HTTPStatus, str]:
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, (
            f"The head of the request has more than {self.limits.max_head_bytes} bytes "
            f"or {self.limits.max_headers} headers."
        )

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        """Closes in any case; says why unless another answer has begun."""
        self._is_in_head = False
        if not (self.cycle and self.cycle.response_started and not self.cycle.response_complete):
            self.transport.write(_response(status, message))
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """A client may ask; the request is answered as plain HTTP."""


class _Polite(asyncio.Transport):
    """The transport as an answer sees it, which may end with its client still sending."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._connection.transport.write(data)

    def is_closing(self) -> bool:
        return self._connection.transport.is_closing()

    def close(self) -> None:
        self._connection.end()


def _response(status: HTTPStatus, message: str) -> bytes:
    content = json.dumps(http_error_content(status, message)).encode()
    head = (
        b"content-type: application/json\r\nconnection: close\r\n"
        + f"content-length: {len(content)}\r\nx-request-id: {new_request_id()}\r\n\r\n".encode()
    )
    return STATUS_LINE[status] + head + content
