"""Apps over a scripted engine, and one live server over the golden model."""

import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakSet

import httpx
import pytest
import uvicorn

from pandagpt import logs
from pandagpt.api.app import create_app
from pandagpt.api.connection import Connection, ConnectionLimits
from pandagpt.api.serving import EmbeddingModel, ServedModel, Serving
from pandagpt.cli.loading import decoder_pool, load_serving
from pandagpt.engine.meter import RequestMeter
from pandagpt.engine.request import Delta, Embeddings, EmbedRequest, GenerateRequest
from pandagpt.engine.stream import DeltaStream
from pandagpt.errors import PandaError
from pandagpt.media.decoder import DecoderPool
from pandagpt.metrics import EngineMetrics
from pandagpt.model.tokenizer import SentencePieceTokenizer, Tokenizer
from pandagpt.settings import Settings

MODEL_ID = "scripted"
MAX_MODEL_LEN = 100

Script = list[Delta | PandaError]


@pytest.fixture(scope="session", autouse=True)
def _plain_logs() -> None:
    logs.configure("json")


def unexpected(error: Exception) -> None:
    raise error


@dataclass
class ScriptedEngine:
    """Answers every request with `script`; `refusal` is raised at once instead."""

    script: Script = field(default_factory=lambda: [Delta(0, "Hi.", (1, 2), (), "stop")])
    refusal: PandaError | None = None
    requests: list[GenerateRequest] = field(default_factory=list)
    open: WeakSet[DeltaStream] = field(default_factory=WeakSet)
    num_aborted: int = 0
    is_ready: bool = True
    is_restarting: bool = False
    is_closed: bool = False
    metrics: EngineMetrics = field(default_factory=EngineMetrics)

    def listen(self) -> None:
        pass

    def generate(self, request: GenerateRequest) -> DeltaStream:
        if self.refusal:
            raise self.refusal
        self.requests.append(request)
        meter = RequestMeter(self.metrics, len(request.prompt), request.n)
        stream = DeltaStream(request.n, self._abort, meter)
        for event in self.script:
            stream.put(event)
        self.open.add(stream)
        return stream

    async def embed(self, request: EmbedRequest) -> Embeddings:
        raise NotImplementedError

    def _abort(self) -> None:
        self.num_aborted += 1

    def fail_open(self, error: PandaError) -> None:
        for stream in self.open:
            stream.put(error)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture(scope="session")
def tokenizer(golden: Path) -> Tokenizer:
    return SentencePieceTokenizer((golden / "splice" / "llama" / "tokenizer.model").read_bytes())


@pytest.fixture(scope="session")
def served_model(tokenizer: Tokenizer) -> ServedModel:
    return ServedModel(MODEL_ID, tokenizer, MAX_MODEL_LEN, tokenizer.vocab_size)


@pytest.fixture(scope="session")
def decoders() -> Iterator[DecoderPool]:
    decoders = decoder_pool(Settings())
    yield decoders
    decoders.close()


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


Connect = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def connect(engine: ScriptedEngine, served_model: ServedModel, decoders: DecoderPool) -> Connect:
    """`async with connect(settings) as client`: an app in this process, ready to serve."""

    @asynccontextmanager
    async def open_client(
        settings: Settings | None = None, embedding_model: EmbeddingModel | None = None
    ) -> AsyncGenerator[httpx.AsyncClient]:
        serving = Serving(engine, served_model, embedding_model)
        app = create_app(settings or Settings(), lambda: serving, unexpected, decoders)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            while (await client.get("/ready")).status_code != 200:
                pass
            yield client

    return open_client


@pytest.fixture
async def client(connect: Connect) -> AsyncIterator[httpx.AsyncClient]:
    async with connect() as client:
        yield client


@contextmanager
def serving(settings: Settings, load: Callable[[], Serving]) -> Generator[str]:
    """A real server on a real port, in a thread of this process; yields its URL when ready."""
    decoders = decoder_pool(settings)
    app = create_app(settings, load, unexpected, decoders)
    limits = ConnectionLimits(settings.head_timeout_s, settings.client_stall_s)
    http = Connection.limited(limits)
    config = uvicorn.Config(app, port=0, http=http, ws="none", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        while httpx.get(f"{url}/ready").status_code != 200:
            time.sleep(0.05)
        yield url
    finally:
        server.should_exit = True
        thread.join()
        decoders.close()


@pytest.fixture(scope="session")
def live_url(golden_bundle: Path) -> Iterator[str]:
    """The golden model behind a real engine."""
    settings = Settings(model=str(golden_bundle), threads=1, max_queue=64)
    with serving(settings, lambda: load_serving(settings)[0]) as url:
        yield url


@pytest.fixture
def live(live_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live_url, timeout=60) as client:
        yield client
