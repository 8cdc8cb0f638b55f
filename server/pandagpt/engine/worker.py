"""The engine in threads of its own: requests in from asyncio, streams of deltas out.

One thread steps the engine, one encodes media; they and the event loop speak by messages
alone, which is what a process border would need. The event loop is woken once per step.
"""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from weakref import WeakValueDictionary

import torch

from pandagpt.engine.config import EngineConfig
from pandagpt.engine.encoder import EncodedMedia, EncodeJob, Encoder
from pandagpt.engine.engine import Engine, Event, engine_failure
from pandagpt.engine.request import GenerateRequest, SamplingParams, check_length
from pandagpt.engine.runner import Runner
from pandagpt.engine.stream import DeltaStream
from pandagpt.errors import Overloaded, PandaError
from pandagpt.logs import get_logger
from pandagpt.model.pandagpt import PandaGPT
from pandagpt.model.prompt import Prompt

log = get_logger()


@dataclass(frozen=True, slots=True)
class Add:
    request: GenerateRequest


@dataclass(frozen=True, slots=True)
class Abort:
    request_id: str


@dataclass(frozen=True, slots=True)
class Shutdown:
    pass


Message = Add | Abort | EncodedMedia | Shutdown


class Worker:
    """`generate` belongs to one event loop; `start` and `close` may be called from anywhere."""

    def __init__(self, model: PandaGPT, config: EngineConfig) -> None:
        self._model = model
        self._config = config
        self._inbox: SimpleQueue[Message] = SimpleQueue()
        self._encoder_inbox: SimpleQueue[EncodeJob | Shutdown] = SimpleQueue()
        self._streams: WeakValueDictionary[str, DeltaStream] = WeakValueDictionary()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads = [
            _thread(self._run_engine, "engine"),
            _thread(self._run_encoder, "encoder"),
        ]
        self._has_started = threading.Event()
        self._is_warm = False
        self._is_draining = False

    @property
    def is_ready(self) -> bool:
        return self._is_warm and not self._is_draining

    @property
    def num_requests(self) -> int:
        return len(self._streams)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wait_until_ready(self, timeout_seconds: float) -> bool:
        """False if it takes longer, or if the first pass has failed (which is logged)."""
        return self._has_started.wait(timeout_seconds) and self._is_warm

    def generate(self, request: GenerateRequest) -> DeltaStream:
        """Refuses at once, here and not at the first delta: `Overloaded`, or a prompt too long."""
        self._refuse_if_full()
        check_length(request.prompt, self._config.max_model_len or self._model.max_model_len)
        self._enter_loop()
        stream = DeltaStream(request.n, partial(self._abort, request.request_id))
        assert request.request_id not in self._streams, "request ids are unique"
        self._streams[request.request_id] = stream
        self._inbox.put(Add(request))
        return stream

    async def drain(self, timeout_seconds: float) -> bool:
        """Accepts nothing more; whether all that was accepted has ended in time."""
        self._is_draining = True
        try:
            async with asyncio.timeout(timeout_seconds):
                while self._streams:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Ends the threads; requests still open fail."""
        self._is_draining = True
        self._inbox.put(Shutdown())
        self._encoder_inbox.put(Shutdown())
        for thread in self._threads:
            thread.join(timeout=10)

    # -- on the event loop

    def _refuse_if_full(self) -> None:
        if not self.is_ready:
            state = "shutting down" if self._is_draining else "still loading"
            raise Overloaded(f"The server is {state}. Try again later.")
        limit = self._config.max_rows + self._config.max_queue
        if len(self._streams) >= limit:
            raise Overloaded(f"The queue is full ({limit} requests). Try again later.")

    def _enter_loop(self) -> None:
        loop = asyncio.get_running_loop()
        assert self._loop in (None, loop) or not self._streams, "a worker serves one event loop"
        self._loop = loop

    def _abort(self, request_id: str) -> None:
        self._streams.pop(request_id, None)
        self._inbox.put(Abort(request_id))

    def _deliver(self, events: list[Event]) -> None:
        for request_id, event in events:
            if (stream := self._streams.get(request_id)) is None:
                continue
            stream.put(event)
            if stream.is_over:
                del self._streams[request_id]

    def _fail_open(self) -> None:
        """Also those that the engine has not seen yet."""
        for stream in list(self._streams.values()):
            stream.put(Overloaded("The server is shutting down. Try again later."))
        self._streams.clear()

    # -- on the engine's thread

    def _run_engine(self) -> None:
        torch.set_num_threads(self._config.num_threads)
        try:
            self._serve(Runner(self._model, self._config))
        except Exception:
            log.exception("engine_thread_ended")
        finally:
            self._is_warm = False
            self._has_started.set()
            self._call_loop(self._fail_open)

    def _serve(self, runner: Runner) -> None:
        engine = Engine(runner, self._config)
        self._is_warm = _warm_up(engine)
        self._has_started.set()
        while True:
            messages = self._receive(wait=not engine.has_work)
            if any(isinstance(message, Shutdown) for message in messages):
                return
            try:
                events = self._handle(engine, messages)
                events += engine.step()
            except Exception:
                # Never expected, so its state is not to be trusted: a new engine takes over.
                log.exception("engine_step_failed", num_requests=engine.num_requests)
                events = engine.all_failed(engine_failure())
                runner.reset()
                engine = Engine(runner, self._config)
            self._post(events)

    def _receive(self, wait: bool) -> list[Message]:
        messages = [self._inbox.get()] if wait else []
        while not self._inbox.empty():
            messages.append(self._inbox.get())
        return messages

    def _handle(self, engine: Engine, messages: list[Message]) -> list[Event]:
        events: list[Event] = []
        for message in messages:
            if isinstance(message, Add):
                events += self._add(engine, message.request)
            elif isinstance(message, Abort):
                engine.abort(message.request_id)
            elif isinstance(message, EncodedMedia):
                events += engine.add_media(message)
        return events

    def _add(self, engine: Engine, request: GenerateRequest) -> list[Event]:
        try:
            jobs = engine.add(request)
        except Exception:
            log.exception("request_refused_by_engine", request_id=request.request_id)
            return engine.fail(request.request_id, engine_failure())
        for job in jobs:
            self._encoder_inbox.put(job)
        return []

    def _post(self, events: list[Event]) -> None:
        if events and not self._call_loop(partial(self._deliver, events)):
            for request_id in {request_id for request_id, _ in events}:
                self._inbox.put(Abort(request_id))

    def _call_loop(self, callback: Callable[[], None]) -> bool:
        """False if nobody is there to listen any more."""
        if self._loop is None:
            return False
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the event loop is closed
            return False
        return True

    # -- on the encoder's thread

    def _run_encoder(self) -> None:
        torch.set_num_threads(self._config.num_threads)
        encoder = Encoder(self._model, self._config.max_encoder_batch)
        while self._encode_pending(encoder):
            pass

    def _encode_pending(self, encoder: Encoder) -> bool:
        """Everything that waits; false at the shutdown."""
        jobs = [self._encoder_inbox.get()]
        while not self._encoder_inbox.empty():
            jobs.append(self._encoder_inbox.get())
        for encoded in encoder.encode([job for job in jobs if isinstance(job, EncodeJob)]):
            self._inbox.put(encoded)
        return not any(isinstance(job, Shutdown) for job in jobs)


def _thread(target: Callable[[], None], name: str) -> threading.Thread:
    return threading.Thread(target=target, name=name, daemon=True)


def _warm_up(engine: Engine) -> bool:
    """The first pass of a process is slow (allocation, kernels): no request pays for it."""
    params = SamplingParams(max_tokens=2, ignore_eos=True)
    engine.add(GenerateRequest("warm-up", Prompt((1, 1)), (), params, n=2))
    events = []
    while engine.has_work:
        events += engine.step()
    return not any(isinstance(event, PandaError) for _, event in events)
