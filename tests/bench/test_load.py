"""The client's timing, against a server that says when it wrote what."""

import asyncio

import pytest

from tests.bench.load import chat, run_stream, run_together, spread
from tests.bench.peers.report import quantile

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
FRAMES = (
    b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n',
    b'data: {"choices":[{"delta":{"content": "b"}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"c"}}]}\n\n',
)
USAGE = b'data: {"choices":[],"usage":{"completion_tokens":5}}\n\n'
GAP_SECONDS = 0.05


async def serve(frames: tuple[bytes, ...]) -> tuple[asyncio.Server, str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for frame in frames:
            writer.write(frame)
            await writer.drain()
            await asyncio.sleep(GAP_SECONDS)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(("end", "num_tokens"), [((USAGE,), 5), ((), 3)])
async def test_times_are_those_of_the_text(end: tuple[bytes, ...], num_tokens: int) -> None:
    server, url = await serve((HEAD, *FRAMES, *end))
    async with server:
        stream = await run_stream(url, chat("?"))
    assert (stream.text, stream.num_tokens) == ("abc", num_tokens)
    assert stream.first_token_seconds >= 2 * GAP_SECONDS
    assert stream.last_token_seconds - stream.first_token_seconds >= 1.8 * GAP_SECONDS
    assert stream.total_seconds >= stream.last_token_seconds
    between = stream.last_token_seconds - stream.first_token_seconds
    assert stream.seconds_per_token == pytest.approx(between / (num_tokens - 1))


async def test_refusal_is_an_error() -> None:
    server, url = await serve((b"HTTP/1.1 503 Busy\r\n\r\nlater",))
    async with server:
        with pytest.raises(RuntimeError, match="503"):
            await run_together(url, [chat("?")])


async def test_error_in_a_stream_is_an_error() -> None:
    server, url = await serve((HEAD, *FRAMES, b'data: {"error": {"message": "gone"}}\n\n'))
    async with server:
        with pytest.raises(RuntimeError, match="gone"):
            await run_stream(url, chat("?"))


def test_figures() -> None:
    assert spread([2.0]) == "2"
    assert spread([1.0, 3.0, 2.5], 1) == "2.5 [1.0..3.0]"
    values = [float(i) for i in range(1, 33)]
    assert (quantile(values, 0.5), quantile(values, 0.95), quantile([7.0], 0.95)) == (16, 31, 7)
