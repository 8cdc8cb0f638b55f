"""Log lines: one a request, with fields; no prompt, medium or key in any of them."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from pandagpt import logs


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_lines_are_json_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logs.get_logger().info("ready", model="tiny")
    logging.getLogger("uvicorn.error").error("trouble")
    logging.getLogger("uvicorn.error").info("silence")
    ready, trouble = lines(capsys)
    assert ready.items() >= {"event": "ready", "model": "tiny", "level": "info"}.items()
    assert trouble["event"] == "trouble"


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_tracebacks_hold_no_values(
    capsys: pytest.CaptureFixture[str], log_format: logs.LogFormat
) -> None:
    logs.configure(log_format)
    prompt = "".join(["sec", "ret"])
    try:
        raise ValueError(len(prompt))
    except ValueError:
        structlog.get_logger().exception("crash")
    shown = capsys.readouterr().err
    assert "ValueError: 6" in shown
    assert "secret" not in shown


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers, root.level)
    yield
    root.handlers, root.level = before
