"""The load that every benchmark of a live server puts on it: chat requests on bare sockets.

Answers are kept as bytes with the time of each read and parsed after the clock has stopped:
on a small machine the client costs the server.
"""

import asyncio
import bisect
import json
import re
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

# A delta with text in it; servers differ in the blank after the colon.
TEXT = re.compile(rb'"content": ?"[^"]')


@dataclass(frozen=True, slots=True)
class Stream:
    """One streamed answer: its text, its tokens and when they came, in seconds."""

    text: str
    num_tokens: int
    first_token_seconds: float
    last_token_seconds: float
    total_seconds: float

    @property
    def seconds_per_token(self) -> float:
        """Between tokens, without the wait for the first."""
        gaps = max(1, self.num_tokens - 1)
        return (self.last_token_seconds - self.first_token_seconds) / gaps


@dataclass(frozen=True, slots=True)
class Batch:
    """Streams that ran at the same time, and how long they took together."""

    streams: tuple[Stream, ...]
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        return sum(stream.num_tokens for stream in self.streams) / self.seconds


def chat(content: str | list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    return conversation([{"role": "user", "content": content}], **options)


def conversation(messages: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    return {
        "messages": messages,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        **options,
    }


async def run_together(url: str, bodies: Iterable[dict[str, Any]]) -> Batch:
    start = time.perf_counter()
    streams = await asyncio.gather(*(run_stream(url, body) for body in bodies))
    return Batch(tuple(streams), time.perf_counter() - start)


async def run_stream(url: str, body: dict[str, Any]) -> Stream:
    payload = json.dumps(body).encode()
    host, port = url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
    )
    start, raw = time.perf_counter(), bytearray()
    reads: list[tuple[int, float]] = []
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode() + payload)
    while data := await reader.read(1 << 16):
        raw += data
        reads.append((len(raw), time.perf_counter() - start))
    seconds = time.perf_counter() - start
    writer.close()
    if not raw.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(raw.decode())
    return _parse(bytes(raw), reads, seconds)


def _parse(raw: bytes, reads: Sequence[tuple[int, float]], seconds: float) -> Stream:
    events = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith(b"data: {")]
    if failed := [event for event in events if "error" in event]:
        raise RuntimeError(str(failed[0]))
    choices = [choice for event in events for choice in event["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    shown = [match.end() for match in TEXT.finditer(raw)]
    usage = next((event["usage"] for event in events if event.get("usage")), None)
    num_tokens = usage["completion_tokens"] if usage else len(shown)
    first, last = (_time_of(end, reads) for end in (shown[0], shown[-1]))
    return Stream(text, num_tokens, first, last, seconds)


def _time_of(end: int, reads: Sequence[tuple[int, float]]) -> float:
    """When the read arrived that holds byte `end` - 1."""
    return reads[bisect.bisect_left(reads, (end, 0.0))][1]


def spread(values: Sequence[float], digits: int = 0) -> str:
    """The median, and the least and the most where there are several."""
    middle = f"{statistics.median(values):.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} [{min(values):.{digits}f}..{max(values):.{digits}f}]"
