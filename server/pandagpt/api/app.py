"""The FastAPI application: routes, middlewares, error shapes, and the model's life.

The port opens at once; the model is loaded by a thread meanwhile.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import pandagpt
from pandagpt.api.body import BodyRoom
from pandagpt.api.body_limit import BodyLimit, BodyRule
from pandagpt.api.errors import http_response, media_codes, problem_of, response_of
from pandagpt.api.fetch import Fetcher, FetchRules
from pandagpt.api.file_folder import open_folder
from pandagpt.api.file_store import FileLimits, FileStore
from pandagpt.api.gate import Gate
from pandagpt.api.generation import ClientGone
from pandagpt.api.intake import Intake
from pandagpt.api.media_reader import MediaReader
from pandagpt.api.middleware import METRICS, OPEN_PATHS, Auth, RequestContext, WholePath
from pandagpt.api.openapi import document
from pandagpt.api.places import PlaceLimits, Places
from pandagpt.api.responses.store import ResponseStore
from pandagpt.api.routes import (
    chat,
    completions,
    docs,
    embeddings,
    files,
    health,
    metrics,
    models,
    responses,
    tokens,
)
from pandagpt.api.serving import ModelHolder, Serving
from pandagpt.api.state import AppState, log_of, state_of
from pandagpt.engine.config import EngineConfig
from pandagpt.errors import OperatorError, PandaError
from pandagpt.logs import get_logger
from pandagpt.media.decoder import DecoderPool
from pandagpt.metrics import HttpMetrics
from pandagpt.settings import Settings

CLIENT_CLOSED_REQUEST = 499
"""nginx's number for the log line of an answer that nobody waits for."""
SWEEP_SECONDS = 60
FAREWELL_SECONDS = 1

DESCRIPTION = (
    "OpenAI's API for PandaGPT: pictures, films, sounds, depth, heat and motion in, text out."
)


def create_app(
    settings: Settings,
    load: Callable[[], Serving],
    on_load_failure: Callable[[Exception], None],
    decoders: DecoderPool,
) -> FastAPI:
    """`load` builds and starts the engine; it runs in a thread once the app has started.

    Raises OperatorError where uploads cannot be kept, or settings contradict each other.
    """
    open_paths = _open_paths(settings)
    folder = open_folder(settings.files_dir)
    file_store = FileStore(folder.path, file_limits(settings))
    holder = ModelHolder(load, on_load_failure)
    reader = MediaReader(decoders, _fetcher(settings), file_store.read, _media_folder(settings))
    intake = Intake(
        reader,
        settings.max_media_per_request,
        _max_pending(settings),
        settings.max_decoded_bytes,
        settings.max_queue_s,
    )

    responses_store = ResponseStore(settings.max_responses_bytes, settings.response_ttl_s)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        holder.start()
        sweeping = asyncio.create_task(_sweep(file_store))
        yield
        sweeping.cancel()
        holder.close()
        intake.close()
        folder.close()

    app = FastAPI(
        title="PandaGPT",
        version=pandagpt.__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    places = Places(place_limits(settings))
    http_metrics = HttpMetrics(media_codes())
    app.state.panda = AppState(
        settings, holder, intake, file_store, responses_store, places, http_metrics
    )
    # The last one added is the outermost.
    app.add_middleware(BodyRoom, settings.max_body_bytes, settings.max_queue_s)
    app.add_middleware(WholePath)
    rate = settings.requests_per_minute
    app.add_middleware(Gate, holder=holder, places=places, requests_per_minute=rate)
    app.add_middleware(Auth, api_keys=settings.api_keys, open_paths=open_paths)
    rule = BodyRule(settings.max_body_bytes, settings.body_timeout_s)
    app.add_middleware(BodyLimit, rule=rule)
    app.add_middleware(RequestContext, metrics=http_metrics)
    app.add_exception_handler(PandaError, _on_panda_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(ClientGone, _on_client_gone)
    app.add_exception_handler(ClientDisconnect, _on_client_gone)
    routed = (
        health,
        models,
        chat,
        completions,
        responses,
        embeddings,
        files,
        tokens,
        docs,
        metrics,
    )
    for routes in routed:
        app.include_router(routes.router)
    app.openapi = cache(
        lambda: document(app, has_keys=bool(settings.api_keys), open_paths=open_paths)
    )
    return app


def _open_paths(settings: Settings) -> frozenset[str]:
    if not settings.protect_metrics:
        return OPEN_PATHS | {METRICS}
    if not settings.api_keys:
        raise OperatorError("--protect-metrics needs a key to ask for: set PANDAGPT_API_KEY")
    return OPEN_PATHS


def _fetcher(settings: Settings) -> Fetcher:
    return Fetcher(
        FetchRules(
            None if settings.allow_media_urls else frozenset(settings.media_domains),
            settings.max_media_bytes,
            settings.media_fetch_timeout,
        )
    )


def _media_folder(settings: Settings) -> Path | None:
    """Resolved once: where a link of that name leads to must not change under a running server."""
    folder = settings.allowed_local_media_path
    if folder is None:
        return None
    if not folder.is_dir():
        raise OperatorError(f"--allowed-local-media-path {folder}: no such folder")
    return folder.resolve()


def place_limits(settings: Settings) -> PlaceLimits:
    has_callers = len(settings.api_keys) > 1
    return PlaceLimits(settings.max_queue, settings.max_concurrent_per_key, has_callers)


async def drain(app: FastAPI) -> None:
    """Refuses new work, lets what has begun end in its time, and then ends it with a word."""
    state: AppState = app.state.panda
    state.holder.drain()
    if await state.places.all_left(state.settings.drain_s):
        return
    get_logger().warning("drain took too long", open_requests=state.places.num_open)
    state.holder.fail_open()
    await state.places.all_left(FAREWELL_SECONDS)


def file_limits(settings: Settings) -> FileLimits:
    return FileLimits(
        settings.max_media_bytes, settings.max_files_bytes_per_caller, settings.max_files_bytes
    )


async def _sweep(file_store: FileStore) -> None:
    """What has expired leaves the disk, even if nobody asks for it."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        try:
            await run_in_threadpool(file_store.sweep)
        except OSError:
            get_logger().exception("expired files could not be removed")


def _max_pending(settings: Settings) -> int:
    """As many requests may be read at once as may be generated (not known yet) and wait."""
    return (settings.max_num_seqs or EngineConfig().max_rows) + settings.max_queue


async def _on_panda_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PandaError)
    log = log_of(request)
    log.fields["error"] = type(error).__name__
    state_of(request).metrics.refused(problem_of(error).code)
    return response_of(error, log.request_id)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = str(error.detail)
    if error.status_code == 404:
        message = f"Unknown path: {request.method} {request.url.path[:200]}"
    return http_response(error.status_code, message, dict(error.headers or {}))


async def _on_client_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)
