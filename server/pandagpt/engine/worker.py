"""The threads around the engine: messages in, events out. Knows no asyncio and no sockets.

One thread steps the engine, one encodes media, one compiles grammars. All that happened in one
step is posted at once.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import perf_counter

import torch

from pandagpt.engine.config import EngineConfig
from pandagpt.engine.encoder import EncodedMedia, EncodeJob, Encoder
from pandagpt.engine.engine import Engine
from pandagpt.engine.failure import engine_failure
from pandagpt.engine.grammar import CompiledGrammar, CompileJob, compiler_of
from pandagpt.engine.messages import Abort, Add, Embed
from pandagpt.engine.request import EmbedRequest, Event, GenerateRequest, SamplingParams
from pandagpt.engine.runner import Runner
from pandagpt.engine.stats import Stats
from pandagpt.engine.watchdog import Watch, tick_seconds
from pandagpt.errors import PandaError
from pandagpt.logs import get_logger
from pandagpt.model.pandagpt import PandaGPT
from pandagpt.model.prompt import Prompt
from pandagpt.model.transfer import own_stream

log = get_logger()

# A batch of films is 50 times the work of a long prompt's chunk, and comes once for all of them.
ENCODER_PATIENCE = 10.0
REPORT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Shutdown:
    pass


Message = Add | Embed | Abort | EncodedMedia | CompiledGrammar | Shutdown


class Worker:
    """`post`, `ended` and `report` are called on the engine's thread; the rest from anywhere."""

    def __init__(
        self,
        model: PandaGPT,
        config: EngineConfig,
        post: Callable[[list[Event]], None],
        ended: Callable[[], None],
        report: Callable[[Stats], None] = lambda stats: None,
    ) -> None:
        """`ended` tells that nothing more will be posted."""
        self._model = model
        self._config = config
        self._post = post
        self._ended = ended
        self._report = report
        self._reported_at = 0.0
        self._beat_seconds = tick_seconds(config.step_timeout_seconds)
        self._inbox: SimpleQueue[Message] = SimpleQueue()
        self._encoder_inbox: SimpleQueue[EncodeJob | Shutdown] = SimpleQueue()
        self._compiler_inbox: SimpleQueue[CompileJob | Shutdown] = SimpleQueue()
        self._threads = [
            _thread(self._run_engine, "engine"),
            _thread(self._run_encoder, "encoder"),
            _thread(self._run_compiler, "grammars"),
        ]
        self._step_watch = Watch("engine")
        self._encode_watch = Watch("encoder", ENCODER_PATIENCE)
        self._compile_watch = Watch("grammars")
        self._has_started = threading.Event()
        self._is_warm = False

    @property
    def watches(self) -> tuple[Watch, ...]:
        """What each thread is at."""
        return self._step_watch, self._encode_watch, self._compile_watch

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wait_until_ready(self, timeout_seconds: float) -> bool:
        """False if it takes longer, or if the first pass has failed (which is logged)."""
        return self._has_started.wait(timeout_seconds) and self._is_warm

    def put(self, message: Add | Embed | Abort) -> None:
        self._inbox.put(message)

    def close(self) -> None:
        """Ends the threads; of requests still open nothing more is said."""
        self._inbox.put(Shutdown())
        self._encoder_inbox.put(Shutdown())
        self._compiler_inbox.put(Shutdown())
        for thread in self._threads:
            thread.join(timeout=10)

    # -- on the engine's thread

    def _run_engine(self) -> None:
        torch.set_num_threads(self._config.num_threads)
        try:
            # Streams in flight feel little of the media that are encoded meanwhile.
            with own_stream(self._model.device, goes_first=True):
                self._serve(Runner(self._model, self._config))
        except Exception:
            log.exception("engine_thread_ended")
        finally:
            self._is_warm = False
            self._has_started.set()
            self._ended()

    def _serve(self, runner: Runner) -> None:
        engine = Engine(runner, self._config)
        self._is_warm = _warm_up(engine)
        self._has_started.set()
        while True:
            messages = self._receive(engine)
            self._step_watch.begin()
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
            # To wait for a reader of what is posted is not to hang.
            self._step_watch.end()
            if events:
                self._post(events)
            self._report_if_due(engine)

    def _report_if_due(self, engine: Engine) -> None:
        """Before every pause too, so that what was told last stays true."""
        now = perf_counter()
        if not engine.has_work or now - self._reported_at >= REPORT_SECONDS:
            self._reported_at = now
            self._report(engine.stats())

    def _receive(self, engine: Engine) -> list[Message]:
        """Waits where there is nothing to do; reports meanwhile are signs of life."""
        messages: list[Message] = []
        while not engine.has_work and not messages:
            try:
                messages = [self._inbox.get(timeout=self._beat_seconds)]
            except Empty:
                self._report_if_due(engine)
        while not self._inbox.empty():
            messages.append(self._inbox.get())
        return messages

    def _handle(self, engine: Engine, messages: list[Message]) -> list[Event]:
        events: list[Event] = []
        for message in messages:
            if isinstance(message, Add | Embed):
                events += self._add(engine, message.request)
            elif isinstance(message, Abort):
                engine.abort(message.request_id)
            elif isinstance(message, EncodedMedia):
                events += engine.add_media(message)
            elif isinstance(message, CompiledGrammar):
                events += engine.add_grammar(message)
        return events

    def _add(self, engine: Engine, request: GenerateRequest | EmbedRequest) -> list[Event]:
        try:
            jobs, events = engine.add(request)
        except Exception:
            log.exception("request_refused_by_engine", request_id=request.request_id)
            return engine.fail(request.request_id, engine_failure())
        for job in jobs:
            self._encoder_inbox.put(job)
        if isinstance(request, GenerateRequest) and (grammar := request.params.grammar):
            self._compiler_inbox.put(CompileJob(request.request_id, grammar))
        return events

    # -- on the encoder's thread

    def _run_encoder(self) -> None:
        torch.set_num_threads(self._config.num_threads)
        encoder = Encoder(self._model, self._config.max_encoder_batch, self._encode_watch)
        # Nothing else may touch a GPU while the engine captures its steps.
        self._has_started.wait()
        with own_stream(self._model.device, goes_first=False):
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

    # -- on the thread of grammars

    def _run_compiler(self) -> None:
        while isinstance(job := self._compiler_inbox.get(), CompileJob):
            self._compile_watch.begin()
            self._inbox.put(self._compile(job))
            self._compile_watch.end()

    def _compile(self, job: CompileJob) -> CompiledGrammar:
        try:
            vocab_size = self._model.llama.config.vocab_size
            return compiler_of(self._model.tokenizer, vocab_size).run(job)
        except BaseException:  # a panic of the library is no Exception; this thread must go on
            log.exception("grammar_failed", request_id=job.request_id)
            return CompiledGrammar(job.request_id, engine_failure())


def _thread(target: Callable[[], None], name: str) -> threading.Thread:
    return threading.Thread(target=target, name=name, daemon=True)


def _warm_up(engine: Engine) -> bool:
    """The first pass of a process is slow (allocation, kernels): no request pays for it."""
    params = SamplingParams(max_tokens=2, ignore_eos=True)
    engine.add(GenerateRequest("warm-up", Prompt((1, 1)), (), params, n=2))
    events = []
    while engine.has_work:
        events += engine.step()
    engine.stats()
    return not any(isinstance(event, PandaError) for _, event in events)
