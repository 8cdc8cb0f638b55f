"""`pandagpt serve`: opens the port at once, loads the model meanwhile, serves until a signal."""

import gc
import resource
import signal
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from pandagpt.cli.exit import INTERRUPTED, leave
from pandagpt.errors import OperatorError
from pandagpt.settings import Settings

if TYPE_CHECKING:
    from pandagpt.api.serving import Serving

# Longer than the idle time of client pools, so that the client closes first: a server that
# closes first may reset a request that is just being sent.
KEEP_ALIVE_SECONDS = 75
# What is still open after the drain has been told so; whoever does not take it is left.
LAST_SECONDS = 2
# How long a thread that reads a large body may keep the event loop waiting, each time; Python's
# own 5 ms add up to pauses that a stream's reader sees.
SWITCH_SECONDS = 0.0005
# Each connection is one, and shells allow 1024: so few idle ones would keep out everybody else.
OPEN_FILES = 65536
DEFAULTS = Settings()


def serve(*, settings: Annotated[Settings, Parameter(name="*")] = DEFAULTS) -> None:
    """Serve a model over HTTP, in the shape of OpenAI's API."""
    from pandagpt import logs

    logs.configure(settings.log_format)
    _allow_open_files()
    listener = _listen(settings)
    if not (settings.is_loopback or settings.api_keys):
        message = "anybody who reaches this address can use the server; set PANDAGPT_API_KEY"
        logs.get_logger().warning(message, host=settings.host)
    _run(settings, listener)


def _allow_open_files() -> None:
    """As many as the system lets any process have, without asking for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        # Some systems have a bound of their own below the limit that they tell.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _listen(settings: Settings) -> socket.socket:
    """Before anything is loaded: a port that is taken must be told within a second."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        place = f"{settings.host}:{settings.port}"
        remedy = "give another --port, or 0 for any free one"
        raise OperatorError(f"cannot listen on {place}: {error.strerror}; {remedy}") from None
    return listener


def _run(settings: Settings, listener: socket.socket) -> None:
    """Returns after a signal; raises what made the model's loading fail."""
    import uvicorn

    from pandagpt.api.app import create_app, drain
    from pandagpt.api.connection import Connection, ConnectionLimits
    from pandagpt.cli.loading import decoder_pool
    from pandagpt.cli.server import Server
    from pandagpt.cli.welcome import show_loading, show_welcome

    url = _url(settings, listener.getsockname()[1])
    failures: list[Exception] = []
    decoders = decoder_pool(settings)

    def load() -> "Serving":
        # In a thread, which waits for the engine's process: the port is open by now.
        from pandagpt.cli.loading import load_serving

        decoders.start()
        serving, ready = load_serving(settings)
        # What lives as long as the server is never looked through again: each time that took
        # 50 ms, in which no stream got anything.
        gc.collect()
        gc.freeze()
        sys.setswitchinterval(SWITCH_SECONDS)
        has_key, reads_media = bool(settings.api_keys), bool(serving.model.modalities)
        models = [model.id for model in serving.chat_models]
        show_welcome(url, models, ready, has_key=has_key, reads_media=reads_media)
        return serving

    def stop(error: Exception) -> None:
        failures.append(error)
        server.should_exit = True

    show_loading(url, settings.model)
    app = create_app(settings, load, stop, decoders)
    limits = ConnectionLimits(settings.head_timeout_s, settings.client_stall_s)
    config = uvicorn.Config(
        app,
        http=Connection.limited(limits),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=LAST_SECONDS,
    )
    server = Server(config, lambda: drain(app))
    # Uvicorn repeats the signal it has obeyed; a server that was told to end has ended well.
    signal.signal(signal.SIGTERM, lambda *_: leave(0))
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        leave(INTERRUPTED)
    finally:
        decoders.close()
    if failures:
        raise failures[0]


def _url(settings: Settings, port: int) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
