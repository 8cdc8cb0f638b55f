"""Measures a live server over HTTP with the bundled model and prints one Markdown table.

    python -m tests.bench.throughput [--model tiny] [--url http://127.0.0.1:8000]

Start, memory, time to the first token per modality, and output tokens per second at 1, 8
and 32 parallel streams, whose greedy texts are compared with those of a sequential run.
"""

import argparse
import asyncio
import base64
import json
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

import pandagpt

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
FIRST_TEXT = re.compile(rb'"content":"[^"]')


@dataclass(frozen=True, slots=True)
class Stream:
    """One streamed answer: its text, its tokens and when they came, in seconds."""

    text: str
    num_tokens: int
    first_token_seconds: float
    total_seconds: float


def chat(content: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": content}]
    return {
        "messages": messages,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        **options,
    }


def question(text: str, kind: str | None = None, url: str = "") -> list[dict[str, Any]]:
    part: list[dict[str, Any]] = [{"type": "text", "text": text}]
    if kind is None:
        return part
    name = MEDIA_PARTS[kind]
    return [{"type": name, name: {"url": url}}, *part]


async def run_stream(url: str, body: dict[str, Any]) -> Stream:
    """A bare socket, parsed after the timing: on a small machine the client costs the server."""
    payload = json.dumps(body).encode()
    host, port = url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
    )
    start, first, raw = time.perf_counter(), 0.0, bytearray()
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode() + payload)
    while data := await reader.read(1 << 16):
        raw += data
        if not first and FIRST_TEXT.search(raw):
            first = time.perf_counter() - start
    seconds = time.perf_counter() - start
    writer.close()
    if not raw.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(raw.decode())
    events = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith(b"data: {")]
    choices = [choice for event in events for choice in event["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    return Stream(text, events[-1]["usage"]["completion_tokens"], first, seconds)


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


async def parallel(url: str, count: int, num_tokens: int) -> tuple[float, Sequence[Stream]]:
    start = time.perf_counter()
    streams = await asyncio.gather(*(run_stream(url, body) for body in bodies(count, num_tokens)))
    seconds = time.perf_counter() - start
    return sum(s.num_tokens for s in streams) / seconds, streams


async def measure(url: str) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for kind in (None, *MEDIA_PARTS):
        runs = await first_token(url, kind)
        figures = f"{statistics.median(runs):.0f} [{min(runs):.0f}..{max(runs):.0f}]"
        rows.append((f"first token, {kind or 'text'} question, ms", figures))
    for num_tokens in ANSWER_TOKENS:
        rows += await throughput(url, num_tokens)
    return rows


async def throughput(url: str, num_tokens: int) -> list[tuple[str, str]]:
    rows = []
    alone = [await run_stream(url, body) for body in bodies(max(STREAMS), num_tokens)]
    rates = {}
    for count in STREAMS:
        tries = [await parallel(url, count, num_tokens) for _ in range(TRIES)]
        rates[count] = statistics.median(rate for rate, _ in tries)
        same = all(
            a.text == b.text for _, streams in tries for a, b in zip(alone, streams, strict=False)
        )
        figures = f"{rates[count]:.0f} (texts equal to alone: {'yes' if same else 'NO'})"
        rows.append((f"output tokens/s, {count} streams of {num_tokens}", figures))
    ratio = rates[STREAMS[-1]] / rates[1]
    rows.append((f"  {STREAMS[-1]} streams over one", f"{ratio:.1f}x"))
    return rows


def resident_mib(pid: int) -> float:
    """Of the process and all below it: what they share counts once."""
    shares = re.search(r"^Pss: +(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    own = int(shares[1]) / 1024 if shares else float("nan")
    return own + sum(resident_mib(child) for child in children(pid))


def children(pid: int) -> list[int]:
    """From every process's own word: few kernels list a process's children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextmanager
def server(model: str) -> Generator[tuple[str, int, float]]:
    """A fresh server: its URL, its process and the seconds until it was ready."""
    port, start = free_port(), time.perf_counter()
    command = [sys.executable, "-m", "pandagpt", "serve", "--model", model, "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while not is_ready(url):
            if process.poll() is not None:
                raise RuntimeError(f"the server ended with status {process.returncode}")
            time.sleep(0.05)
        yield url, process.pid, time.perf_counter() - start
    finally:
        process.terminate()
        process.wait(30)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready", timeout=1).status_code == 200
    except httpx.TransportError:
        return False


def machine() -> str:
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--url", help="measure a server that already runs")
    options = parser.parse_args(arguments)
    rows: list[tuple[str, str]] = []
    if options.url:
        rows += asyncio.run(measure(options.url))
    else:
        with server(options.model) as (url, pid, seconds):
            rows.append(("start to ready, s", f"{seconds:.1f}"))
            rows += asyncio.run(measure(url))
            rows.append(("resident memory, MiB", f"{resident_mib(pid):.0f}"))
    print(f"{machine()}\n\n| measure | value |\n|---|---|")
    for name, value in rows:
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
