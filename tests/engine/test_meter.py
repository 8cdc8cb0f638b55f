"""What one engine's client counts: from deltas as they come, and from what the engine tells."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from pandagpt.engine.client import EngineClient
from pandagpt.engine.local import LocalEngine
from pandagpt.engine.meter import RequestMeter, record
from pandagpt.engine.request import Delta
from pandagpt.engine.stats import Stats
from pandagpt.engine.stream import DeltaStream
from pandagpt.errors import EngineFailure
from pandagpt.media.modality import Modality
from pandagpt.metrics import EngineMetrics
from pandagpt.model.pandagpt import PandaGPT
from tests.engine.test_client import CONFIG, ENDLESS, pictures, request, tokens, with_picture


class Counted:
    """Values by their names without prefix; of one label, `name:value`."""

    def __init__(self, metrics: EngineMetrics) -> None:
        self._metrics = metrics

    def __getitem__(self, name: str) -> float:
        name, _, label = name.partition(":")
        value = self._metrics.registry.get_sample_value(
            f"pandagpt:{name}", {self._label(name): label} if label else None
        )
        assert value is not None, name
        return value

    def _label(self, name: str) -> str:
        return "modality" if name.startswith("encoder") else "finished_reason"

    async def becomes(self, name: str, value: float) -> None:
        async with asyncio.timeout(10):
            while self[name] != value:
                await asyncio.sleep(0.01)


@pytest.fixture
async def client(model: PandaGPT) -> AsyncIterator[EngineClient]:
    client = EngineClient(LocalEngine(model, CONFIG), CONFIG)
    yield client
    client.close()


@pytest.fixture
def counted(client: EngineClient) -> Counted:
    return Counted(client.metrics)


async def test_a_request(client: EngineClient, counted: Counted) -> None:
    assert len(await tokens(client.generate(request("a", n=2)))) == 20
    assert counted["prompt_tokens_total"] == len(request("a").prompt)
    assert counted["generation_tokens_total"] == 20
    assert counted["time_to_first_token_seconds_count"] == 2
    assert counted["inter_token_latency_seconds_count"] == 18
    assert counted["request_success_total:length"] == 2
    assert counted["e2e_request_latency_seconds_count"] == 2
    longest = counted["e2e_request_latency_seconds_sum"]
    assert 0 < counted["inter_token_latency_seconds_sum"] <= longest
    assert 0 < counted["time_to_first_token_seconds_sum"] <= longest
    await counted.becomes("request_queue_time_seconds_count", 1)


async def test_who_runs_and_who_waits(client: EngineClient, counted: Counted) -> None:
    streams = [client.generate(request(str(i), ENDLESS)) for i in range(6)]
    await counted.becomes("num_requests_running", 4)
    await counted.becomes("num_requests_waiting", 2)
    assert 0 < counted["kv_cache_usage_perc"] <= 1
    for stream in streams:
        stream.close()
    await counted.becomes("num_requests_running", 0)
    assert counted["num_requests_waiting"] == counted["kv_cache_usage_perc"] == 0
    assert counted["request_success_total:abort"] == 6
    assert counted["e2e_request_latency_seconds_count"] == 0


async def test_media_that_are_known(client: EngineClient, counted: Counted) -> None:
    await tokens(client.generate(with_picture("a", 0.5)))
    await tokens(client.generate(with_picture("b", 0.5)))
    await counted.becomes("mm_cache_queries_total", 2)
    assert counted["mm_cache_hits_total"] == 1
    assert counted["encoder_seconds_count:image"] == 1
    await client.embed(pictures("c", 0.5, 0.25, 0.125))
    await counted.becomes("mm_cache_queries_total", 5)
    assert counted["mm_cache_hits_total"] == 2
    await counted.becomes("encoder_seconds_count:image", 3)
    assert counted["num_requests_waiting"] == 0


async def test_prefixes_that_are_known(client: EngineClient, counted: Counted) -> None:
    known = replace(request("a"), prompt=replace(request("a").prompt, token_ids=(1, *range(5, 40))))
    for name in "ab":
        await tokens(client.generate(replace(known, request_id=name)))
    await counted.becomes("prefix_cache_queries_total", 72)
    assert counted["prefix_cache_hits_total"] == 32


async def test_a_failure(client: EngineClient, counted: Counted) -> None:
    with pytest.raises(EngineFailure):
        await tokens(client.generate(with_picture("a", float("nan"))))
    assert counted["request_success_total:error"] == 1
    assert counted["prompt_tokens_total"] == 0


def test_what_a_dropped_stream_had_left_counts_once() -> None:
    metrics = EngineMetrics()
    stream = DeltaStream(3, lambda: None, RequestMeter(metrics, 5, 3))
    stream.put(Delta(1, "x", (7,), (), "stop"))
    stream.close()
    stream.close()
    counted = Counted(metrics)
    assert counted["request_success_total:stop"] == 1
    assert counted["request_success_total:abort"] == 2


def test_what_an_engine_tells_adds_up() -> None:
    metrics = EngineMetrics()
    counted = Counted(metrics)
    told = Stats(3, 2, 0.5, [0.1, 0.2], [(Modality.AUDIO, 0.3)], 4, 1, 50, 16)
    record(told, metrics)
    record(told, metrics)
    assert counted["num_requests_running"] == 3
    assert counted["kv_cache_usage_perc"] == 0.5
    assert counted["request_queue_time_seconds_count"] == 4
    assert counted["encoder_seconds_sum:audio"] == pytest.approx(0.6)
    assert counted["mm_cache_queries_total"] == 8
    assert counted["prefix_cache_hits_total"] == 32
    record(Stats(), metrics)
    assert counted["num_requests_running"] == 0
    assert counted["mm_cache_queries_total"] == 8
