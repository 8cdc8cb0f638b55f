"""The numbers of a step: stated, or by the device, and always room for every answer."""

from pandagpt.engine.config import EngineConfig


def step(config: EngineConfig) -> tuple[int, float]:
    return config.max_step_tokens, config.max_step_seconds


def test_by_the_device() -> None:
    assert step(EngineConfig().on("cpu")) == (512, 0.25)
    assert step(EngineConfig().on("cuda")) == (2048, 0.025)


def test_stated() -> None:
    assert step(EngineConfig().on("cuda", 512, 0.25)) == (512, 0.25)
    assert step(EngineConfig().on("cpu", max_step_tokens=64)) == (64, 0.25)
    assert step(EngineConfig().on("cpu", max_step_seconds=2)) == (512, 2)


def test_every_answer_has_a_token_in_each_step() -> None:
    config = EngineConfig().with_rows(8).on("cpu", max_step_tokens=1)
    assert (config.max_rows, config.max_step_tokens) == (8, 16)
