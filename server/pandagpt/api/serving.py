"""What the HTTP floor needs of the engine and the model, and whether they are there yet.

The port opens before the weights are read. Until then `ModelHolder.serving` refuses with
`Overloaded`, and so does every route that needs the model.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from pandagpt.engine.config import EngineConfig
from pandagpt.engine.request import Embeddings, EmbedRequest, GenerateRequest
from pandagpt.engine.stream import DeltaStream
from pandagpt.errors import Overloaded, PandaError, ShuttingDown
from pandagpt.logs import get_logger
from pandagpt.media.modality import Modality
from pandagpt.media.text import TextTokenizer
from pandagpt.metrics import EngineMetrics
from pandagpt.model.chat_template import ChatTemplate
from pandagpt.model.prompt import STOP, Fusion, Prompt, Turn, render
from pandagpt.model.tokenizer import Tokenizer

MEDIA = tuple(modality for modality in Modality if modality is not Modality.TEXT)


class Engine(Protocol):
    @property
    def is_ready(self) -> bool: ...

    @property
    def is_restarting(self) -> bool:
        """It is not ready, and will soon be."""
        ...

    @property
    def metrics(self) -> EngineMetrics: ...

    def listen(self) -> None:
        """To the engine's signs of life, on the running event loop."""
        ...

    def generate(self, request: GenerateRequest) -> DeltaStream:
        """Raises Overloaded at once if the queue is full. Closing the stream aborts."""
        ...

    async def embed(self, request: EmbedRequest) -> Embeddings: ...

    def fail_open(self, error: PandaError) -> None:
        """Ends every request that is open, and takes no more."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """The encoders alone: every modality to vectors of `dimensions` numbers."""

    id: str
    dimensions: int
    text_tokenizer: TextTokenizer
    created: int = field(default_factory=lambda: int(time.time()))


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The facts of one chat model that requests are checked against.

    `variant` is its name among the models that share weights in the engine; empty: the one that
    is merged into them. `parent` is the model that it adds an adapter to.
    """

    id: str
    tokenizer: Tokenizer
    max_model_len: int
    vocab_size: int
    fusion: Fusion = "sum"
    modalities: tuple[Modality, ...] = MEDIA
    chat_template: ChatTemplate | None = None
    variant: str = ""
    parent: str | None = None
    created: int = field(default_factory=lambda: int(time.time()))

    def prompt(self, turns: Sequence[Turn], fusion: Fusion, *, opens_answer: bool = True) -> Prompt:
        """In the model's own template if it has one, else in PandaGPT's.

        The base under a PandaGPT gets PandaGPT's too, which without media is that of Vicuna v0
        and of the bundled base; Vicuna's opening sentence is the caller's, as a system message.
        """
        if self.chat_template:
            return self.chat_template.render(turns, self.tokenizer, opens_answer=opens_answer)
        return render(turns, self.tokenizer, fusion, opens_answer=opens_answer)

    @property
    def turn_stop(self) -> str:
        """What begins the next turn at the start of a line; empty: only a token ends an answer."""
        return "" if self.chat_template else STOP


@dataclass(frozen=True, slots=True)
class Serving:
    engine: Engine
    model: ServedModel
    embedding_model: EmbeddingModel | None = None
    variants: tuple[ServedModel, ...] = ()
    num_rows: int = EngineConfig().max_rows
    """Answers that the engine generates at once."""

    @property
    def chat_models(self) -> tuple[ServedModel, ...]:
        """The first one answers who asks for none."""
        return (self.model, *self.variants)


class ModelHolder:
    """Loads the model in a thread of its own and holds what came of it."""

    def __init__(
        self, load: Callable[[], Serving], on_failure: Callable[[Exception], None]
    ) -> None:
        self._load = load
        self._on_failure = on_failure
        self._serving: Serving | None = None
        self._is_draining = False
        self._is_closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """On the event loop that will serve."""
        self._loop = asyncio.get_running_loop()
        # A daemon: Ctrl-C must not wait until gigabytes of weights have been read.
        threading.Thread(target=self._run, name="model-load", daemon=True).start()

    def drain(self) -> None:
        """From now on new work is refused; what has begun goes on."""
        self._is_draining = True

    def refuse_if_draining(self) -> None:
        if self._is_draining:
            raise ShuttingDown

    def fail_open(self) -> None:
        """What has begun has no more time either."""
        self._is_closed = True
        if self._serving:
            self._serving.engine.fail_open(ShuttingDown())

    def close(self) -> None:
        self._is_closed = True
        if self._serving:
            self._serving.engine.close()

    @property
    def serving(self) -> Serving:
        if self._is_closed:
            raise ShuttingDown
        if self._serving is None:
            message = "The server is still loading its model. Try again soon."
            raise Overloaded(message, retry_after_seconds=2)
        return self._serving

    @property
    def num_rows(self) -> int:
        return self._serving.num_rows if self._serving else EngineConfig().max_rows

    @property
    def engine(self) -> Engine | None:
        """Once it is loaded, whether it takes requests or not."""
        return self._serving.engine if self._serving else None

    def _run(self) -> None:
        started_at = time.perf_counter()
        try:
            serving = self._load()
        except Exception as error:
            self._on_failure(error)
            return
        if self._is_closed:
            serving.engine.close()
            return
        self._serving = serving
        assert self._loop
        with suppress(RuntimeError):  # that loop is closed
            self._loop.call_soon_threadsafe(serving.engine.listen)
        seconds = round(time.perf_counter() - started_at, 2)
        get_logger().info("ready", model=serving.model.id, seconds=seconds)
