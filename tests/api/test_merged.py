"""Several streams as one: choices numbered through, closed and failed together."""

import pytest

from pandagpt.api.merged import MergedStream
from pandagpt.engine.request import Delta
from pandagpt.engine.stream import DeltaStream
from pandagpt.errors import EngineFailure


class Streams:
    def __init__(self, num_streams: int, n: int) -> None:
        self.num_aborted = 0
        self.parts = [DeltaStream(n, self._abort) for _ in range(num_streams)]
        self.merged = MergedStream(self.parts, n)

    def _abort(self) -> None:
        self.num_aborted += 1


async def test_choices_are_numbered_through() -> None:
    streams = Streams(num_streams=2, n=2)
    for position, part in enumerate(streams.parts):
        for index in range(2):
            part.put(Delta(index, f"{position}{index}", (1,), (), "stop", position + 1))
    deltas = [delta async for delta in streams.merged]
    assert {delta.index: delta.text for delta in deltas} == {0: "00", 1: "01", 2: "10", 3: "11"}
    assert deltas[-1].cached_tokens == 3
    streams.merged.close()
    assert streams.num_aborted == 0


async def test_closing_aborts_all() -> None:
    streams = Streams(num_streams=3, n=1)
    streams.parts[1].put(Delta(0, "a"))
    assert (await anext(streams.merged)).index == 1
    streams.merged.close()
    assert streams.num_aborted == 3


async def test_one_failure_is_that_of_all() -> None:
    streams = Streams(num_streams=2, n=1)
    streams.parts[1].put(EngineFailure("no"))
    with pytest.raises(EngineFailure):
        await anext(streams.merged)
    streams.merged.close()
    assert streams.num_aborted == 1
