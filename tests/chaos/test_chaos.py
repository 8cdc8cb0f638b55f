"""The judges of the chaos, and a short one of `make chaos`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.chaos.disconnects import disconnects
from tests.chaos.questions import Reply, judged, read_stream
from tests.chaos.report import Report
from tests.chaos.restarts import restarts
from tests.chaos.run import chaos, kills
from tests.chaos.target import known_answers

ERROR = {"error": {"message": "failed", "type": "server_error", "param": None, "code": None}}


def lines(*events: Any) -> Iterator[str]:
    for event in events:
        yield "data: " + (event if isinstance(event, str) else json.dumps(event))
        yield ""


def piece(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}, "finish_reason": finish}]}


def test_how_streams_end() -> None:
    whole = read_stream(lines(piece("a"), piece("b", "stop"), "[DONE]"))
    assert whole == Reply("right", "ab")
    failed = read_stream(lines(piece("a"), ERROR, "[DONE]"))
    assert (failed.verdict, failed.answer) == ("error", "a")
    for silent in (
        lines(piece("a")),
        lines(piece("a"), "[DONE]"),
        lines(piece("a", "stop")),
        lines(piece("a", "stop"), ERROR, "[DONE]"),
    ):
        assert read_stream(silent).verdict == "wrong"


def test_answers_are_compared() -> None:
    assert judged(Reply("right", "abc"), "abc").verdict == "right"
    assert judged(Reply("right", "abd"), "abc").verdict == "wrong"
    assert judged(Reply("error", "ab"), "abc").verdict == "error"
    assert judged(Reply("error", "b"), "abc").verdict == "wrong"
    one, other = np.array([0.1, 0.2]), np.array([0.1, 0.3])
    assert judged(Reply("right", [one]), [one + 1e-5]).verdict == "right"
    assert judged(Reply("right", [one]), [other]).verdict == "wrong"


def test_what_a_report_tells() -> None:
    report = Report()
    assert not report.is_good
    report.count("error", "right", "")
    assert report.is_good
    assert "0.0% at once, 100.0% with two repeats" in str(report)
    report.count("wrong", "wrong", "that one")
    assert not report.is_good
    assert "wrong: that one" in str(report)


@pytest.mark.parametrize("seed", [1])
def test_some_seconds_of_chaos(seed: int) -> None:
    report = chaos(6, seed, known_answers(), trouble_seconds=1.0)
    assert report.troubles.total() > 0
    assert report.is_good, str(report)


@pytest.mark.slow
def test_a_kill_beside_as_many_requests_as_are_accepted() -> None:
    report, seconds = kills(1, known_answers())
    assert report.is_good, str(report)
    assert len(seconds) == 1


def test_who_leaves_leaves_nothing(tmp_path: Path) -> None:
    report, moments, _ = disconnects(40, known_answers(), tmp_path)
    assert moments.total() == 40
    assert report.is_good, str(report)


def test_two_restarts_beside_requests() -> None:
    report, seconds = restarts(2, known_answers())
    assert report.is_good, str(report)
    assert len(seconds) == 2
