"""Prompts are read in chunks that streams do not feel, and never not at all."""

import pytest

from pandagpt.engine.pace import Pace


def paced(token_seconds: float) -> Pace:
    pace = Pace(max_step_seconds=0.2, max_step_tokens=256)
    for _ in range(50):
        pace.observe(100, 100 * token_seconds)
    return pace


def test_alone_a_prompt_is_read_as_fast_as_it_goes() -> None:
    assert paced(0.01).budget(0) == 256


def test_beside_streams_only_for_a_while() -> None:
    assert paced(0.002).budget(4) == 100
    assert paced(0.0001).budget(4) == 256


def test_streams_do_not_starve_new_requests() -> None:
    assert paced(1.0).budget(1) == 17
    assert paced(1.0).budget(100) == 200
    assert paced(1.0).budget(200) == 256


def test_steps_of_few_tokens_teach_nothing() -> None:
    pace = paced(0.002)
    pace.observe(1, 5.0)
    assert pace.budget(4) == 100


def test_the_first_step_knows_nothing_yet() -> None:
    assert Pace(0.2, 256).budget(4) == 256


def test_it_learns_that_a_machine_has_become_slower() -> None:
    pace = paced(0.001)
    for _ in range(20):
        pace.observe(100, 1.0)
    assert pace.budget(1) == 20


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        monkeypatch.setattr("pandagpt.engine.pace.perf_counter", lambda: self.seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_step_lasts_until_its_tokens_are_here(clock: Clock) -> None:
    """Chunks that end no prompt give no token: their time is told with the step that does."""
    pace = Pace(max_step_seconds=0.2, max_step_tokens=256)
    pace.launched(60, clock.seconds)
    clock.seconds = 0.01
    pace.launched(40, clock.seconds)
    clock.seconds = 0.1
    pace.finished()
    assert pace.budget(4) == 200


def test_steps_of_which_nothing_came_are_forgotten(clock: Clock) -> None:
    pace = Pace(max_step_seconds=0.2, max_step_tokens=256)
    pace.launched(100, clock.seconds)
    pace.forget()
    clock.seconds = 64.0
    pace.launched(100, clock.seconds)
    clock.seconds = 64.125
    pace.finished()
    assert pace.budget(4) == 160
