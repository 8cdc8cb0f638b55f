"""/metrics: what was counted after known requests, and who may read it."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pandagpt.api.app import create_app
from pandagpt.cli.loading import load_serving
from pandagpt.errors import OperatorError, Overloaded
from pandagpt.media.decoder import DecoderPool
from pandagpt.settings import Settings
from tests.api.conftest import Connect, ScriptedEngine, serving, unexpected

CHAT = "/v1/chat/completions"
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}
TEN_TOKENS = HELLO | {"max_tokens": 10, "ignore_eos": True}
KEY = {"authorization": "Bearer right"}

Values = dict[tuple[str, ...], float]


def read(response: httpx.Response) -> Values:
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name.removeprefix("pandagpt:"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


class Counter:
    """How much more each value is than it was at first."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._before = self._read()

    def __getitem__(self, name: tuple[str, ...]) -> float:
        return self._read().get(name, 0) - self._before.get(name, 0)

    def wait_for(self, name: tuple[str, ...], value: float) -> None:
        """What the engine's process knows comes a moment later."""
        deadline = time.monotonic() + 10
        while self[name] != value:
            assert time.monotonic() < deadline, (name, self[name])
            time.sleep(0.02)

    def _read(self) -> Values:
        return read(self._client.get("/metrics"))


@pytest.fixture(scope="module")
def own_client(golden_bundle: Path) -> Iterator[httpx.Client]:
    settings = Settings(model=str(golden_bundle), threads=1, max_num_seqs=4)
    with (
        serving(settings, lambda: load_serving(settings)[0]) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield client


@pytest.fixture
def counter(own_client: httpx.Client) -> Counter:
    """After one answer of which the engine too has told all."""
    first = Counter(own_client)
    own_client.post(CHAT, json=TEN_TOKENS)
    first.wait_for(("request_queue_time_seconds_count",), 1)
    return Counter(own_client)


def whole(client: httpx.Client) -> int:
    return client.post(CHAT, json=TEN_TOKENS).json()["usage"]["prompt_tokens"]


def streamed(client: httpx.Client) -> int:
    body = TEN_TOKENS | {"stream": True, "stream_options": {"include_usage": True}}
    *_, usage, _ = client.post(CHAT, json=body).text.split("\n\n")[:-1]
    return json.loads(usage.removeprefix("data: "))["usage"]["prompt_tokens"]


@pytest.mark.parametrize("ask", [whole, streamed])
def test_an_answer(
    own_client: httpx.Client, counter: Counter, ask: Callable[[httpx.Client], int]
) -> None:
    num_prompt_tokens = ask(own_client)
    assert counter["prompt_tokens_total",] == num_prompt_tokens
    assert counter["generation_tokens_total",] == 10
    assert counter["time_to_first_token_seconds_count",] == 1
    assert counter["inter_token_latency_seconds_count",] == 9
    assert counter["e2e_request_latency_seconds_count",] == 1
    assert counter["request_success_total", "length"] == 1
    assert counter["http_requests_total", CHAT, "200"] == 1
    counter.wait_for(("request_queue_time_seconds_count",), 1)
    assert read(own_client.get("/metrics"))["num_requests_running",] == 0


def test_a_client_that_leaves(own_client: httpx.Client, counter: Counter) -> None:
    body = HELLO | {"stream": True, "ignore_eos": True, "logit_bias": {"2": -100}}
    with own_client.stream("POST", CHAT, json=body) as response:
        next(response.iter_lines())
    counter.wait_for(("request_success_total", "abort"), 1)
    counter.wait_for(("num_requests_running",), 0)
    counter.wait_for(("request_queue_time_seconds_count",), 1)
    assert counter["http_requests_total", CHAT, "200"] == 1


def test_a_picture_that_is_known(own_client: httpx.Client, counter: Counter) -> None:
    part = {"type": "image_url", "image_url": {"url": "sample://red_car.png"}}
    body = {"messages": [{"role": "user", "content": [part]}], "max_tokens": 1}
    for _ in range(3):
        assert own_client.post(CHAT, json=body).status_code == 200
    counter.wait_for(("mm_cache_queries_total",), 3)
    assert counter["mm_cache_hits_total",] == 2
    assert counter["encoder_seconds_count", "image"] == 1


def test_a_medium_that_is_refused(own_client: httpx.Client, counter: Counter) -> None:
    part = {"type": "image_url", "image_url": {"url": "data:;base64,AAAA"}}
    body = {"messages": [{"role": "user", "content": [part]}]}
    assert own_client.post(CHAT, json=body).status_code == 400
    assert counter["media_failures_total", "invalid_media"] == 1
    assert counter["http_requests_total", CHAT, "400"] == 1
    assert counter["generation_tokens_total",] == 0


async def test_who_is_sent_away(connect: Connect, engine: ScriptedEngine) -> None:
    engine.refusal = Overloaded("full")
    async with connect() as client:
        assert (await client.post(CHAT, json=HELLO)).status_code == 503
        engine.is_ready = False
        assert (await client.get("/ready")).status_code == 503
        values = read(await client.get("/metrics"))
    assert values["admission_rejections_total", "503"] == 1
    assert values["http_requests_total", CHAT, "503"] == 1


async def test_labels_are_routes_and_not_what_clients_write(client: httpx.AsyncClient) -> None:
    for name in ("file-1", "file-2"):
        await client.get(f"/v1/files/{name}")
        await client.get(f"/nowhere/{name}")
        await client.request(name.upper(), "/v1/models")
    values = read(await client.get("/metrics"))
    requests = {key[1:]: value for key, value in values.items() if key[0] == "http_requests_total"}
    assert requests["/v1/files/{file_id}", "404"] == 2
    assert requests["none", "404"] == 2
    assert not [labels for labels in requests if "file-" in labels[0] or "nowhere" in labels[0]]


async def test_open_unless_protected(connect: Connect) -> None:
    async with connect(Settings.model_validate({"api_key": "right"})) as client:
        assert (await client.get("/metrics")).status_code == 200
    settings = Settings.model_validate({"api_key": "right", "protect_metrics": True})
    async with connect(settings) as client:
        assert (await client.get("/metrics")).status_code == 401
        read(await client.get("/metrics", headers=KEY))
        told = (await client.get("/openapi.json")).json()["paths"]
    assert told["/metrics"]["get"]["security"] == [{"key": []}]
    assert told["/metrics"]["get"]["responses"]["200"]["content"].keys() == {"text/plain"}


def test_protection_needs_a_key(decoders: DecoderPool) -> None:
    def load() -> Any:
        raise AssertionError

    with pytest.raises(OperatorError, match="PANDAGPT_API_KEY"):
        create_app(Settings(protect_metrics=True), load, unexpected, decoders)


async def test_two_apps_share_nothing(connect: Connect) -> None:
    async with connect() as client:
        await client.get("/v1/models")
    async with connect() as other:
        values = read(await other.get("/metrics"))
    assert ("http_requests_total", "/v1/models", "200") not in values


async def test_readable_while_the_model_loads(decoders: DecoderPool) -> None:
    def load() -> Any:
        raise AssertionError

    app = create_app(Settings(), load, unexpected, decoders)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        values = read(await client.get("/metrics"))
    assert ("admission_rejections_total", "503") in values
    assert ("num_requests_running",) not in values
