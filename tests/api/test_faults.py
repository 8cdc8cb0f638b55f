"""Faults inside the engine, as clients meet them: one request fails, the next does not."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pandagpt.cli.loading import load_serving
from pandagpt.errors import OperatorError
from pandagpt.settings import Settings
from tests.api.conftest import serving
from tests.api.test_errors import CHAT, HELLO, assert_error
from tests.engine.test_process import wait_until

SHORT: dict[str, Any] = {**HELLO, "max_tokens": 3, "temperature": 0}
FORMED = SHORT | {"response_format": {"type": "json_object"}}
PICTURE = {"type": "image_url", "image_url": {"url": "sample://red_car.png"}}
SEEN = SHORT | {"messages": [{"role": "user", "content": [PICTURE]}]}


@pytest.fixture
def faulty(
    golden_bundle: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[httpx.Client]:
    monkeypatch.setenv("PANDAGPT_FAULTS", request.param)
    settings = Settings(model=str(golden_bundle), threads=1, step_timeout_s=1)
    with (
        serving(settings, lambda: load_serving(settings)[0]) as url,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        yield client


ONE_EACH = "step=oom@1x3,text=exception@1,grammar=exception@1,encode=oom@1,sample=exception@3"


@pytest.mark.parametrize("faulty", [ONE_EACH], indirect=True)
def test_one_fault_fails_one_request(faulty: httpx.Client, live: httpx.Client) -> None:
    for body, status in ((SHORT, 503), (SHORT, 500), (FORMED, 500), (SEEN, 503), (SHORT, 500)):
        response = faulty.post(CHAT, json=body)
        code = "internal_error" if status == 500 else "server_overloaded"
        assert_error(response, status, code)
        if status == 500:
            message = response.json()["error"]["message"]
            assert response.headers["x-request-id"] in message
            assert "njected" not in message
        else:
            assert int(response.headers["retry-after"]) >= 1
    for body in (SHORT, FORMED, SEEN):
        answers = [client.post(CHAT, json=body).json()["choices"] for client in (faulty, live)]
        assert answers[0] == answers[1]


@pytest.mark.parametrize("faulty", ["step=nan@2"], indirect=True)
def test_a_stream_of_nonsense_ends_with_an_error(faulty: httpx.Client) -> None:
    with faulty.stream("POST", CHAT, json=SHORT | {"stream": True}) as response:
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert json.loads(lines[-2].removeprefix("data: "))["error"]["code"] == "internal_error"
    assert faulty.post(CHAT, json=SHORT).status_code == 200


@pytest.mark.parametrize("faulty", ["step=hang@4"], indirect=True)
def test_an_engine_that_hangs_is_replaced(faulty: httpx.Client) -> None:
    """The next one has three good steps too."""
    assert faulty.post(CHAT, json=SHORT).status_code == 200
    assert_error(faulty.post(CHAT, json=SHORT), 500, "internal_error")
    assert faulty.get("/health").status_code == 200
    wait_until(lambda: faulty.get("/ready").status_code == 200)
    assert faulty.post(CHAT, json=SHORT).status_code == 200


def test_a_plan_of_faults_that_cannot_be_read(
    golden_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PANDAGPT_FAULTS", "step=nonsense")
    with pytest.raises(OperatorError, match="PANDAGPT_FAULTS"):
        load_serving(Settings(model=str(golden_bundle)))
