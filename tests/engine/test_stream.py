"""What waits for a slow reader: merged, and bounded."""

from collections.abc import AsyncIterator

import pytest

from pandagpt.engine.request import Delta, TokenLogprob
from pandagpt.engine.stream import MAX_UNMERGED, DeltaStream
from pandagpt.errors import DeadlineExceeded

pytestmark = pytest.mark.anyio
TOP = tuple(TokenLogprob(i, "x", b"x", -1.0) for i in range(20))
LIMIT = 100_000


@pytest.fixture
def aborts() -> list[bool]:
    return []


@pytest.fixture
def stream(aborts: list[bool]) -> DeltaStream:
    return DeltaStream(2, lambda: aborts.append(True), max_unread_bytes=LIMIT)


def delta(number: int, index: int = 0, *, with_logprobs: bool = False) -> Delta:
    logprobs = (TokenLogprob(number, "x", b"x", -1.0, TOP),) if with_logprobs else ()
    return Delta(index, f"{number} ", (number,), logprobs)


async def rest(stream: AsyncIterator[Delta]) -> list[Delta]:
    return [delta async for delta in stream]


async def test_text_that_nobody_reads_is_kept_small(stream: DeltaStream) -> None:
    for number in range(4000):
        stream.put(delta(number))
    assert len(stream._pending[0]) <= MAX_UNMERGED
    stream.put(Delta(0, "", finish_reason="length"))
    stream.put(Delta(1, "", finish_reason="stop"))
    whole, _ = await rest(stream)
    assert whole.token_ids == tuple(range(4000))
    assert whole.text == "".join(f"{number} " for number in range(4000))
    assert whole.finish_reason == "length"


async def test_too_much_unread_ends_the_generation(stream: DeltaStream, aborts: list[bool]) -> None:
    stream.put(delta(0, with_logprobs=True))
    assert (await anext(stream)).token_ids == (0,)
    for number in range(1000):
        stream.put(delta(number, number % 2, with_logprobs=True))
        if stream.is_over:
            break
    assert 50 < number < 100
    assert aborts == [True]
    assert not stream._pending
    with pytest.raises(DeadlineExceeded, match="read too slowly"):
        await rest(stream)


async def test_who_reads_loses_nothing(stream: DeltaStream, aborts: list[bool]) -> None:
    for number in range(1000):
        stream.put(delta(number, with_logprobs=True))
        if number % 50 == 0:
            assert (await anext(stream)).token_ids[-1] == number
    assert not aborts


async def test_an_answer_kept_whole_has_no_bound() -> None:
    stream = DeltaStream(1, lambda: None)
    for number in range(1000):
        stream.put(delta(number, with_logprobs=True))
    stream.put(Delta(0, "", finish_reason="stop"))
    (whole,) = await rest(stream)
    assert len(whole.logprobs) == 1000
