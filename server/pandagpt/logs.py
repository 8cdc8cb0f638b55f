"""Structured logs: console lines on a terminal, JSON lines elsewhere.

Events carry fields; they never carry prompts, media or keys. Standard-library loggers
(uvicorn's) are led through the same renderer.
"""

import logging
import sys
from typing import Literal

import structlog
from structlog.typing import FilteringBoundLogger, Processor

LogFormat = Literal["auto", "console", "json"]


def get_logger() -> FilteringBoundLogger:
    return structlog.get_logger()


def configure(log_format: LogFormat = "auto") -> None:
    is_console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_shared(),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(is_console),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    # Each request is summed up once by the server itself, so libraries speak only of trouble.
    for noisy in ("uvicorn", "httpx", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _shared() -> list[Processor]:
    return [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _renderers(is_console: bool) -> list[Processor]:
    if is_console:
        # The richer traceback prints local variables: prompts, media and keys among them.
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
