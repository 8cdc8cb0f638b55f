"""The text that Prometheus reads, and what stands in it from the first moment."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from pandagpt.metrics import TOKEN_BOUNDS, EngineMetrics, HttpMetrics, TokenMetrics, exposition


def read(*of: HttpMetrics | EngineMetrics) -> dict[tuple[str, ...], float]:
    text = exposition(one.registry for one in of).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_everything_has_a_value_at_once() -> None:
    values = read(HttpMetrics(["invalid_media"]), EngineMetrics())
    assert set(values.values()) == {0.0}
    assert ("pandagpt:request_success_total", "abort") in values
    assert ("pandagpt:admission_rejections_total", "503") in values
    assert ("pandagpt:media_failures_total", "invalid_media") in values
    assert all(name.startswith("pandagpt:") for name, *_ in values)
    assert not [name for name, *_ in values if name.endswith("_created")]


def test_two_share_nothing() -> None:
    one, other = EngineMetrics(), EngineMetrics()
    one.tokens.num_tokens += 1
    one.finished.labels("stop").inc()
    assert read(one)["pandagpt:generation_tokens_total",] == 1
    assert set(read(other).values()) == {0.0}


def test_a_time_falls_below_its_bound() -> None:
    metrics = TokenMetrics()
    for seconds in (TOKEN_BOUNDS[0], TOKEN_BOUNDS[1], TOKEN_BOUNDS[1] + 1e-9, 1000.0):
        metrics.observe(seconds)
    _, histogram = metrics.collect()
    values = {sample.labels.get("le", sample.name): sample.value for sample in histogram.samples}
    assert values[str(TOKEN_BOUNDS[0])] == 1
    assert values[str(TOKEN_BOUNDS[1])] == 2
    assert values[str(TOKEN_BOUNDS[-1])] == 3
    assert values["+Inf"] == values[f"{histogram.name}_count"] == 4
    assert values[f"{histogram.name}_sum"] == sum(TOKEN_BOUNDS[:2]) + TOKEN_BOUNDS[1] + 1000 + 1e-9


def test_a_path_that_no_route_has_is_no_label() -> None:
    metrics = HttpMetrics(())
    metrics.answered(None, 404, is_probe=False)
    metrics.answered("/ready", 503, is_probe=True)
    metrics.refused("some other code")
    values = read(metrics)
    assert values["pandagpt:http_requests_total", "none", "404"] == 1
    assert values["pandagpt:admission_rejections_total", "503"] == 0


def test_the_board_shows_what_is_counted() -> None:
    board = (Path(__file__).parent.parent / "deploy" / "grafana" / "pandagpt.json").read_text()
    engine, http = EngineMetrics(), HttpMetrics(["invalid_media"])
    engine.encoder.labels("image")
    http.answered("/health", 200, is_probe=True)
    counted = {name for name, *_ in read(http, engine)}
    shown = set(re.findall(r"pandagpt:\w+", board))
    assert shown <= counted
    families = {re.sub("_(bucket|sum|count|total)$", "", name) for name in counted}
    assert families == {re.sub("_(bucket|sum|count|total)$", "", name) for name in shown}
