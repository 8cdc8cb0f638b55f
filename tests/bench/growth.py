"""How our server's cost grows: with streams at once, with the context, and with media.

    python -m tests.bench.growth [--size S] [--rounds 3] [--plot build/bench/growth.png]

One Markdown table, and with `--plot` a picture of it (needs the extra `bench`). Streams and
context are measured on a random LLaMA, media on the bundled model, all with one engine thread.
"""

import argparse
import asyncio
import base64
import importlib
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench import process
from tests.bench.load import chat, run_stream, run_together, spread
from tests.bench.peers.peer import BENCH
from tests.bench.peers.weights import SIZES, Folder, make
from tests.bench.throughput import MEDIA_PARTS, question, sample_of

STREAMS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CONTEXTS = (128, 256, 512, 1024, 1984)
MEDIA = (0, 1, 2, 4, 8, 16)
ANSWER_TOKENS = 32


@dataclass(slots=True)
class Series:
    """Several values for each point, one a round."""

    name: str
    unit: str
    points: dict[int, list[float]] = field(default_factory=dict)

    def add(self, point: int, value: float) -> None:
        self.points.setdefault(point, []).append(value)


async def streams(url: str, folder: Folder, limit: int, rounds: int) -> list[Series]:
    """The machine's time for a token, which batching lowers, and the wait between two of them."""
    cost = Series("streams at once", "ms of the server a token")
    wait = Series("streams at once", "ms between tokens of a stream")
    for number in range(rounds):
        for count in (count for count in STREAMS if count <= limit):
            texts = [folder.prompt(64, hash((number, count, i))) for i in range(count)]
            bodies = [chat(text, **answer(ANSWER_TOKENS)) for text in texts]
            batch = await run_together(url, bodies)
            cost.add(count, 1e3 / batch.tokens_per_second)
            gaps = (stream.seconds_per_token for stream in batch.streams)
            wait.add(count, statistics.median(gaps) * 1e3)
    return [cost, wait]


async def contexts(url: str, folder: Folder, rounds: int) -> list[Series]:
    first = Series("tokens of context", "ms to the first token")
    wait = Series("tokens of context", "ms between tokens, 1 stream")
    for number in range(rounds):
        for length in CONTEXTS:
            body = chat(folder.prompt(length, hash((number, length))), **answer(ANSWER_TOKENS))
            stream = await run_stream(url, body)
            first.add(length, stream.first_token_seconds * 1e3)
            wait.add(length, stream.seconds_per_token * 1e3)
    return [first, wait]


async def media(url: str, rounds: int) -> list[Series]:
    """Pictures of one request, each with bytes of its own, so that no cache knows it."""
    first = Series("pictures in a request", "ms to the first token")
    for number in range(rounds):
        for count in MEDIA:
            parts = [part for i in range(count) for part in picture(hash((number, count, i)))]
            body = chat([*parts, *question("What is this?")], **answer(4))
            first.add(count, (await run_stream(url, body)).first_token_seconds * 1e3)
    return [first]


def picture(seed: int) -> list[dict[str, Any]]:
    data = sample_of("image") + seed.to_bytes(8, "little", signed=True)
    url = "data:;base64," + base64.b64encode(data).decode()
    name = MEDIA_PARTS["image"]
    return [{"type": name, name: {"url": url}}]


def answer(num_tokens: int) -> dict[str, Any]:
    return {"max_tokens": num_tokens, "min_tokens": num_tokens, "ignore_eos": True}


def measured(
    model: str, options: Sequence[str], run: Callable[[str], Awaitable[list[Series]]]
) -> list[Series]:
    with process.pandagpt(model, "--threads", "1", *options) as server:
        return asyncio.run(_warm(server.url, run))


async def _warm(url: str, run: Callable[[str], Awaitable[list[Series]]]) -> list[Series]:
    await run_stream(url, chat("Hello", **answer(8)))
    return await run(url)


def table(all_series: Sequence[Series]) -> str:
    lines = ["| with | at | cost | measured |", "| --- | --- | --- | --- |"]
    for series in all_series:
        for point, values in series.points.items():
            lines.append(f"| {series.name} | {point} | {series.unit} | {spread(values, 2)} |")
    return "\n".join(lines)


def plot(all_series: Sequence[Series], path: Path) -> None:
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(1, len(all_series), figsize=(4 * len(all_series), 3.2))
    for axis, series in zip(axes, all_series, strict=True):
        points = list(series.points)
        values = list(series.points.values())
        axis.plot(points, [statistics.median(v) for v in values], marker="o")
        axis.fill_between(points, [min(v) for v in values], [max(v) for v in values], alpha=0.2)
        axis.set(xlabel=series.name, title=series.unit, ylim=(0, None))
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="S")
    parser.add_argument("--max-streams", type=int, default=max(STREAMS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plot", type=Path, help="a PNG file to write")
    options = parser.parse_args(arguments)
    busy = process.others()
    folder, rounds, limit = make(options.size, BENCH), options.rounds, options.max_streams
    rows = ["--max-num-seqs", str(limit), "--max-queue", str(limit)]
    found = [
        *measured(str(folder.path), rows, lambda url: streams(url, folder, limit, rounds)),
        *measured(str(folder.path), [], lambda url: contexts(url, folder, rounds)),
        *measured("tiny", [], lambda url: media(url, rounds)),
    ]
    print(f"{process.machine()}; size {options.size}, {rounds} rounds; {busy}\n\n{table(found)}")
    if options.plot:
        plot(found, options.plot)


if __name__ == "__main__":
    main()
