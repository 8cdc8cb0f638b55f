"""The engine as asyncio sees it: requests in, streams of deltas out.

Reaches the engine by a link, whether its threads run in this process or in one of their own.
Refuses at once what the engine would have no place for. Knows no torch and no sockets.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol
from weakref import WeakValueDictionary

from pandagpt.engine.config import EngineConfig
from pandagpt.engine.messages import Abort, Add, Embed
from pandagpt.engine.meter import RequestMeter, record
from pandagpt.engine.request import Embeddings, EmbedRequest, Event, GenerateRequest, check_length
from pandagpt.engine.stats import Stats
from pandagpt.engine.stream import MAX_UNREAD_BYTES, DeltaStream, Reply
from pandagpt.errors import DeadlineExceeded, EngineLost, Overloaded, PandaError, ShuttingDown
from pandagpt.metrics import EngineMetrics

Deliver = Callable[[Iterable[Event] | Stats], None]


class Link(Protocol):
    """A way to a running engine. Once `attach`ed it calls back on that event loop alone."""

    @property
    def max_model_len(self) -> int: ...

    @property
    def is_open(self) -> bool:
        """False from the moment the engine has ended, whoever ended it."""
        ...

    @property
    def is_restarting(self) -> bool:
        """Not open, and another engine is about to take over."""
        ...

    def attach(
        self, loop: asyncio.AbstractEventLoop, deliver: Deliver, ended: Callable[[], None]
    ) -> None:
        """`ended` comes once, after the last events. Another loop may take over an idle link."""
        ...

    def send(self, message: Add | Embed | Abort) -> None:
        """Never blocks."""
        ...

    def close(self) -> None: ...


class EngineClient:
    """`generate` belongs to one event loop; `close` may be called from anywhere."""

    def __init__(self, link: Link, config: EngineConfig) -> None:
        self._link = link
        self._config = config
        self._max_requests = config.max_rows + config.max_queue
        self._streams: WeakValueDictionary[str, DeltaStream | Reply] = WeakValueDictionary()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deadlines: dict[str, asyncio.TimerHandle] = {}
        self._waiting_tokens: dict[str, int] = {}
        """Of the prompts of which no token has come yet."""
        self._is_closed = False
        self.metrics = EngineMetrics()

    @property
    def is_ready(self) -> bool:
        return self._link.is_open and not self._is_closed

    @property
    def is_restarting(self) -> bool:
        return self._link.is_restarting and not self._is_closed

    @property
    def num_requests(self) -> int:
        return len(self._streams)

    def listen(self) -> None:
        """On the running event loop; from the first request on at the latest."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            assert not self._streams, "a client serves one event loop"
            self._loop = loop
            self._link.attach(loop, self._deliver, self._fail_open)

    def generate(self, request: GenerateRequest) -> DeltaStream:
        """Refuses at once, here and not at the first delta: `Overloaded`, or a prompt too long."""
        self._refuse_if_full(len(request.prompt))
        check_length(request.prompt, self._link.max_model_len)
        self.listen()
        meter = RequestMeter(self.metrics, len(request.prompt), request.n)
        abort = partial(self._abort, request.request_id)
        stream = DeltaStream(request.n, abort, meter, MAX_UNREAD_BYTES)
        assert request.request_id not in self._streams, "request ids are unique"
        self._accept(request.request_id, stream)
        self._waiting_tokens[request.request_id] = len(request.prompt)
        self._link.send(Add(request))
        return stream

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Raises Overloaded at once, or what one of its media has failed by. May be cancelled."""
        self._refuse_if_full()
        self.listen()
        reply = Reply()
        self._accept(request.request_id, reply)
        self._link.send(Embed(request))
        try:
            return await reply.future
        except asyncio.CancelledError:
            self._abort(request.request_id)
            raise

    def fail_open(self, error: PandaError) -> None:
        """Ends every request that is open, whose reader hears why, and takes no more."""
        self._is_closed = True
        for request_id in list(self._streams):
            self._fail(request_id, error)

    def close(self) -> None:
        """Ends the engine; requests still open fail."""
        self._is_closed = True
        self._link.close()

    def _refuse_if_full(self, num_tokens: int = 0) -> None:
        if not self.is_ready:
            raise self._gone()
        if len(self._streams) >= self._max_requests:
            raise Overloaded(f"The queue is full ({self._max_requests} requests). Try again later.")
        waiting, limit = sum(self._waiting_tokens.values()), self._config.max_queue_tokens
        if waiting and waiting + num_tokens > limit:
            raise Overloaded(f"Prompts of {waiting} tokens wait, of {limit} at most. Try later.")

    def _accept(self, request_id: str, stream: DeltaStream | Reply) -> None:
        self._streams[request_id] = stream
        seconds = self._config.max_request_seconds
        error = DeadlineExceeded(f"The request was not answered within {seconds:g} s.")
        self._deadlines[request_id] = asyncio.get_running_loop().call_later(
            seconds, self._fail, request_id, error
        )

    def _fail(self, request_id: str, error: PandaError) -> None:
        if (stream := self._streams.get(request_id)) is not None:
            stream.put(error)
        self._abort(request_id)

    def _forget(self, request_id: str) -> None:
        self._streams.pop(request_id, None)
        self._waiting_tokens.pop(request_id, None)
        if deadline := self._deadlines.pop(request_id, None):
            deadline.cancel()

    def _gone(self) -> Overloaded:
        if self._is_closed:
            return ShuttingDown()
        return Overloaded("The engine is being restarted. Try again soon.", retry_after_seconds=5)

    def _abort(self, request_id: str) -> None:
        self._forget(request_id)
        self._link.send(Abort(request_id))

    def _deliver(self, told: Iterable[Event] | Stats) -> None:
        if isinstance(told, Stats):
            record(told, self.metrics)
            return
        for request_id, event in told:
            if (stream := self._streams.get(request_id)) is None:
                continue
            stream.put(event)
            self._waiting_tokens.pop(request_id, None)
            if stream.is_over:
                self._forget(request_id)

    def _fail_open(self) -> None:
        """The engine has ended: also those fail that it has not seen yet."""
        lost = EngineLost("The engine ended while it served this request. Try again.")
        error: PandaError = self._gone() if self._is_closed else lost
        for request_id, stream in list(self._streams.items()):
            stream.put(error)
            self._forget(request_id)
        record(Stats(), self.metrics)
