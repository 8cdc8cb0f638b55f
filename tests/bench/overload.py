"""More than the server has room for: what is refused, how fast, and what it costs the rest.

    python -m tests.bench.overload [--model tiny] [--rounds 5] [--seconds 5]

A burst beyond the queue, then closed loops of ever more clients; beside both, /health is asked
every 20 ms. Loads are interleaved and compared within a round, so that a machine that slows down
slows all of them. Prints one Markdown table.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.bench import process
from tests.bench.load import chat, spread

CHAT = "/v1/chat/completions"
ANSWER_TOKENS = 64
BEYOND_THE_QUEUE = 200
# Twice as many as there are rows, on which the others' goodput is measured; up to 20 times as many.
CLIENTS = (16, 40, 80, 160)
PROBE_SECONDS = 0.02


@dataclass(slots=True)
class Tally:
    """Answers by status; seconds of the refusals; how many of those said when to come again."""

    statuses: Counter[int] = field(default_factory=Counter)
    refusal_seconds: list[float] = field(default_factory=list)
    num_retry_after: int = 0
    num_tokens: int = 0

    def add(self, raw: bytes, seconds: float) -> None:
        head, _, body = raw.partition(b"\r\n\r\n")
        status = int(head.split(maxsplit=2)[1])
        self.statuses[status] += 1
        if status == 200:
            self.num_tokens += json.loads(body)["usage"]["completion_tokens"]
            return
        self.refusal_seconds.append(seconds)
        self.num_retry_after += b"\r\nretry-after:" in head.lower()

    def merge(self, other: "Tally") -> None:
        self.statuses += other.statuses
        self.refusal_seconds += other.refusal_seconds
        self.num_retry_after += other.num_retry_after
        self.num_tokens += other.num_tokens

    def __str__(self) -> str:
        return ", ".join(f"{status}: {number}" for status, number in sorted(self.statuses.items()))


def request(url: str) -> bytes:
    body = chat("Tell me a story.", stream=False, max_tokens=ANSWER_TOKENS, ignore_eos=True)
    del body["stream_options"]
    payload = json.dumps(body).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: {url}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload


async def ask(url: str, tally: Tally) -> bool:
    """On a bare socket, because a client's work costs a small machine's server. Whether refused."""
    num_refused = len(tally.refusal_seconds)
    host, port = url.removeprefix("http://").split(":")
    started_at = time.perf_counter()
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request(url))
    raw = await reader.read(-1)
    writer.close()
    tally.add(raw, time.perf_counter() - started_at)
    return len(tally.refusal_seconds) > num_refused


async def burst(url: str, number: int) -> Tally:
    tally = Tally()
    await asyncio.gather(*(ask(url, tally) for _ in range(number)))
    return tally


async def loops(url: str, num_clients: int, seconds: float) -> Tally:
    """Each client asks again at once; one that is refused waits a little, as SDKs do. Tokens
    that come after the end do not count: then only some clients are left."""
    tally, ends_at = Tally(), time.perf_counter() + seconds

    async def loop() -> None:
        while time.perf_counter() < ends_at:
            if await ask(url, tally):
                await asyncio.sleep(0.5)

    async def count() -> int:
        await asyncio.sleep(seconds)
        return tally.num_tokens

    counting = asyncio.create_task(count())
    await asyncio.gather(*(loop() for _ in range(num_clients)))
    tally.num_tokens = await counting
    return tally


def run_burst(url: str, number: int) -> Tally:
    return asyncio.run(burst(url, number))


def run_loops(url: str, num_clients: int, seconds: float) -> Tally:
    return asyncio.run(loops(url, num_clients, seconds))


def probe(url: str, working: Future[Any]) -> list[float]:
    """The seconds of each /health until the work is done. Raises if one fails."""
    seconds: list[float] = []
    with httpx.Client(base_url=url) as client:
        while not working.done():
            started_at = time.perf_counter()
            client.get("/health").raise_for_status()
            seconds.append(time.perf_counter() - started_at)
            time.sleep(PROBE_SECONDS)
    return seconds


@dataclass(slots=True)
class Load:
    """One load in every round it was put on."""

    name: str
    tally: Tally = field(default_factory=Tally)
    probes: list[float] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)

    def row(self, shares: Sequence[float]) -> str:
        tally = self.tally
        seconds = tally.refusal_seconds
        refused = f"{percentile(seconds, 95) * 1000:.0f}" if seconds else "-"
        told = f"{tally.num_retry_after} of {len(seconds)}"
        health = middle_and_most(self.probes)
        speed = spread(self.speeds) if self.speeds else "-"
        share = spread(shares, 2) if shares else "-"
        return f"| {self.name} | {tally} | {refused} | {told} | {health} | {speed} | {share} |"


def middle_and_most(seconds: Sequence[float]) -> str:
    """The median and the 99th percentile, in milliseconds."""
    return f"{statistics.median(seconds) * 1000:.0f} / {percentile(seconds, 99) * 1000:.0f}"


def percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1] if len(values) > 1 else values[0]


def measure(url: str, rounds: int, seconds: float, size: int) -> list[str]:
    """The load has a process of its own, so that probes wait for the server alone."""
    burst_of, loads = Load(f"burst of {size + BEYOND_THE_QUEUE}"), [Load(f"{n}") for n in CLIENTS]
    with ProcessPoolExecutor(1) as pool:
        pool.submit(run_burst, url, 4).result()
        working = pool.submit(run_burst, url, size + BEYOND_THE_QUEUE)
        burst_of.probes = probe(url, working)
        burst_of.tally = working.result()
        for load, num_clients in list(zip(loads, CLIENTS, strict=True)) * rounds:
            working = pool.submit(run_loops, url, num_clients, seconds)
            load.probes += probe(url, working)
            tally = working.result()
            load.speeds.append(tally.num_tokens / seconds)
            load.tally.merge(tally)
    shares = [[s / t for s, t in zip(x.speeds, loads[0].speeds, strict=True)] for x in loads]
    rows = [load.row(of) for load, of in zip(loads, shares, strict=True)]
    return [burst_of.row([]), *rows]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--queue", type=int, default=32)
    given = parser.parse_args(arguments)
    options = ("--max-num-seqs", str(given.rows), "--max-queue", str(given.queue))
    with process.pandagpt(given.model, *options) as server:
        rows = measure(server.url, given.rounds, given.seconds, given.rows + given.queue)
    print(
        "| clients | answers by status | refusal p95, ms | with Retry-After "
        f"| /health p50 / p99, ms | tok/s | of that with {CLIENTS[0]} |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
