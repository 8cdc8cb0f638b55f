"""Measures what large bodies cost the streams beside them, and prints one Markdown table.

    python -m tests.bench.large_bodies [--rounds 5]

While one stream of the bundled model runs and /health is asked all the time, bodies of each
kind are sent; the figures are the longest silence of the stream and the longest /health.
Bodies are written by a process of their own, so that the clock's process is idle.
"""

import argparse
import asyncio
import base64
import io
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import numpy as np
from PIL import Image

from tests.bench import process
from tests.bench.load import chat, spread
from tests.bench.throughput import sample_of

LARGE = 64 * 2**20 - 2**16
LISTEN_SECONDS = 1.0
Body = Callable[[], bytes]


def _question(content: Any, **options: Any) -> bytes:
    return json.dumps(chat(content, max_tokens=1, **options)).encode()


def _picture_parts(count: int, num_bytes: int) -> list[dict[str, Any]]:
    """One picture many times, each with other blanks behind it, which no decoder reads."""
    text = base64.b64encode(_picture()).decode()
    return [
        {"type": "image_url", "image_url": {"url": f"data:;base64,{_padded(text, num_bytes, i)}"}}
        for i in range(count)
    ]


def _padded(text: str, num_bytes: int, index: int) -> str:
    return " " * index + text + " " * max(0, num_bytes - len(text) - index)


def _picture() -> bytes:
    """Noise, which does not compress: as many bytes as a large photograph has."""
    pixels = np.random.default_rng(0).integers(0, 256, (700, 700, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", compress_level=0)
    return file.getvalue()


def _messages(count: int) -> bytes:
    messages = [{"role": "user", "content": f"What is it, then? {i}"} for i in range(count)]
    return json.dumps({"messages": messages, "max_tokens": 1}).encode()


def _media() -> bytes:
    url = "data:;base64," + base64.b64encode(sample_of("image")).decode()
    parts = [{"type": "image_url", "image_url": {"url": url + " " * i}} for i in range(20)]
    return _question([{"type": "text", "text": "What are these?"}, *parts])


def _filled(filling: bytes, head: bytes = b'{"messages": [', tail: bytes = b"1]}") -> bytes:
    return head + filling * ((LARGE - 100) // len(filling)) + tail


BODIES: dict[str, Body] = {
    "nothing": bytes,
    "64 MB, 32 pictures": lambda: _question(_picture_parts(32, LARGE // 32 - 100)),
    "64 MB, 32 bad pictures": lambda: _question(_picture_parts(32, LARGE // 32 - 100)).replace(
        b"data:;base64,", b"data:;base64,!"
    ),
    "64 MB of numbers": partial(_filled, b"1,"),
    "64 MB of empty strings": partial(_filled, b'"",'),
    "64 MB of escaped quotes": partial(_filled, b'\\"', b'{"messages": "', b'"}'),
    "64 MB of escaped letters": partial(_filled, b"\\u4e2d", b'{"messages": "', b'"}'),
    "64 MB text": lambda: _question("a b " * (LARGE // 4 - 100)),
    "64 MB of strings of 8 kB": partial(_filled, b'"%b",' % (b"A" * 8200)),
    "64 MB without an end": partial(_filled, b"A", b'{"messages": "', b""),
    "2,000 messages": partial(_messages, 2000),
    "20 media": _media,
}


@dataclass(frozen=True, slots=True)
class Figures:
    """In milliseconds, and the statuses of the answers."""

    silence: float
    health: float
    answer: float
    status: int


def send(url: str, body: bytes) -> tuple[int, float]:
    """Runs in a process of its own."""
    start = time.perf_counter()
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{url}/v1/chat/completions", content=body, headers=headers, timeout=120)
    return answer.status_code, (time.perf_counter() - start) * 1000


async def measure(url: str, body: bytes, pool: Any) -> Figures:
    silences: list[float] = []
    healths: list[float] = []
    watchers = [asyncio.create_task(_watch_stream(url, silences))]
    watchers.append(asyncio.create_task(_watch_health(url, healths)))
    await asyncio.sleep(0.3)
    silences.clear()
    healths.clear()
    status, answer = 0, 0.0
    if body:
        status, answer = await asyncio.to_thread(pool.apply, send, (url, body))
    else:
        await asyncio.sleep(LISTEN_SECONDS)
    for watcher in watchers:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher
    return Figures(max(silences, default=0), max(healths, default=0), answer, status)


async def _watch_stream(url: str, silences: list[float]) -> None:
    options = {"max_tokens": 480, "min_tokens": 480, "ignore_eos": True}
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        while True:
            last = time.perf_counter()
            body = chat("Tell me all.", **options)
            async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                async for _ in answer.aiter_raw():
                    now = time.perf_counter()
                    silences.append((now - last) * 1000)
                    last = now


async def _watch_health(url: str, healths: list[float]) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        while True:
            start = time.perf_counter()
            await client.get("/health")
            healths.append((time.perf_counter() - start) * 1000)
            await asyncio.sleep(0.005)


def rows(url: str, rounds: int) -> list[str]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return [_row(url, name, make(), rounds, pool) for name, make in BODIES.items()]


def _row(url: str, name: str, body: bytes, rounds: int, pool: Any) -> str:
    found = [asyncio.run(measure(url, body, pool)) for _ in range(rounds)]
    status = statistics.mode(each.status for each in found) or ""
    columns = [[f.silence for f in found], [f.health for f in found], [f.answer for f in found]]
    return f"| {name} | {status} | " + " | ".join(spread(column) for column in columns) + " |"


def peak_of_ten(url: str, server: process.Server) -> str:
    """MiB of the server while ten bodies arrive at once, above what it had before."""
    server.sample_memory()
    before = server.peak_bytes
    body = BODIES["64 MB, 32 pictures"]()
    with multiprocessing.get_context("spawn").Pool(10) as pool:
        answers = [pool.apply_async(send, (url, body)) for _ in range(10)]
        while not all(answer.ready() for answer in answers):
            server.sample_memory()
            time.sleep(0.02)
        statuses = sorted(answer.get()[0] for answer in answers)
    return f"{before / 2**20:.0f} before, {server.peak_bytes / 2**20:.0f} at most; {statuses}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    with process.pandagpt("tiny") as server:
        print(f"{process.machine()}; {options.rounds} rounds; {process.others()}\n", flush=True)
        print("| beside | status | silence of a stream, ms | /health, ms | answer, ms |")
        print("| --- | --- | --- | --- | --- |", flush=True)
        print("\n".join(rows(server.url, options.rounds)), flush=True)
        print(f"\nMiB (PSS) with ten bodies of 64 MB at once: {peak_of_ten(server.url, server)}")


if __name__ == "__main__":
    main()
