"""Measures a live server over HTTP with the bundled model and prints one Markdown table.

    python -m tests.bench.throughput [--model tiny] [--url http://127.0.0.1:8000]

Start, memory, time to the first token per modality, and output tokens per second at 1, 8
and 32 parallel streams, whose greedy texts are compared with those of a sequential run.
"""

import argparse
import asyncio
import base64
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandagpt
from tests.bench import process
from tests.bench.load import Batch, chat, run_stream, run_together, spread

MEDIA_PARTS = {
    "image": "image_url",
    "video": "video_url",
    "audio": "audio_url",
    "depth": "depth_url",
    "thermal": "thermal_url",
    "imu": "imu_url",
}
SUFFIXES: dict[str, tuple[str, ...]] = {
    "image": (".png", ".jpg"),
    "video": (".mp4", ".webm"),
    "audio": (".wav",),
    "depth": (".depth.png",),
    "thermal": (".thermal.png",),
    "imu": (".csv",),
}
SAMPLES = Path(pandagpt.__file__).parent / "samples"
STREAMS = (1, 8, 32)
ANSWER_TOKENS = (32, 128)
TRIES = 9
FIRST_TOKEN_RUNS = 15


def question(text: str, kind: str | None = None, url: str = "") -> list[dict[str, Any]]:
    part: list[dict[str, Any]] = [{"type": "text", "text": text}]
    if kind is None:
        return part
    name = MEDIA_PARTS[kind]
    return [{"type": name, name: {"url": url}}, *part]


def sample_of(kind: str) -> bytes:
    names = sorted(path for path in SAMPLES.iterdir() if path.name.endswith(SUFFIXES[kind]))
    plain = [path for path in names if kind != "image" or path.name.count(".") == 1]
    return plain[0].read_bytes()


async def first_token(url: str, kind: str | None) -> list[float]:
    """Milliseconds to the first token; trailing blanks make each run's bytes new to any cache."""
    data = sample_of(kind) if kind else b""
    runs = []
    for run in range(FIRST_TOKEN_RUNS):
        medium = "data:;base64," + base64.b64encode(data + b"\n" * run).decode()
        body = chat(question(f"What is this? {run}", kind, medium), max_tokens=4)
        runs.append((await run_stream(url, body)).first_token_seconds * 1000)
    return runs


def bodies(count: int, num_tokens: int) -> list[dict[str, Any]]:
    """Prompts of different lengths, so that rows of a batch are never in step."""
    texts = [f"{'What is it, then? ' * (1 + i % 7)}{i}" for i in range(count)]
    options = {"max_tokens": num_tokens, "min_tokens": num_tokens, "ignore_eos": True}
    return [chat(question(text), **options) for text in texts]


async def parallel(url: str, count: int, num_tokens: int) -> Batch:
    return await run_together(url, bodies(count, num_tokens))


async def measure(url: str) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for kind in (None, *MEDIA_PARTS):
        runs = await first_token(url, kind)
        rows.append((f"first token, {kind or 'text'} question, ms", spread(runs)))
    for num_tokens in ANSWER_TOKENS:
        rows += await throughput(url, num_tokens)
    return rows


async def throughput(url: str, num_tokens: int) -> list[tuple[str, str]]:
    rows = []
    alone = [await run_stream(url, body) for body in bodies(max(STREAMS), num_tokens)]
    rates = {}
    for count in STREAMS:
        tries = [await parallel(url, count, num_tokens) for _ in range(TRIES)]
        rates[count] = statistics.median(batch.tokens_per_second for batch in tries)
        same = all(
            a.text == b.text for batch in tries for a, b in zip(alone, batch.streams, strict=False)
        )
        figures = f"{rates[count]:.0f} (texts equal to alone: {'yes' if same else 'NO'})"
        rows.append((f"output tokens/s, {count} streams of {num_tokens}", figures))
    ratio = rates[STREAMS[-1]] / rates[1]
    rows.append((f"  {STREAMS[-1]} streams over one", f"{ratio:.1f}x"))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--url", help="measure a server that already runs")
    options = parser.parse_args(arguments)
    rows: list[tuple[str, str]] = []
    if options.url:
        rows += asyncio.run(measure(options.url))
    else:
        with process.pandagpt(options.model) as server:
            rows.append(("start to ready, s", f"{server.start_seconds:.1f}"))
            rows += asyncio.run(measure(server.url))
            server.sample_memory()
            rows.append(("memory (PSS), MiB", f"{server.peak_bytes / 2**20:.0f}"))
    print(f"{process.machine()}\n\n| measure | value |\n|---|---|")
    for name, value in rows:
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
