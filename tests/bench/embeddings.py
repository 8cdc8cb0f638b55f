"""Embeddings a second by /v1/embeddings, for requests of 1, 8 and 64 items.

    python -m tests.bench.embeddings [--model tiny] [--rounds 5]

Every item is new to every cache. One client, one request at a time. Prints one Markdown table.
"""

import argparse
import base64
import io
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import httpx
import numpy as np
from PIL import Image

from tests.bench import process
from tests.bench.load import spread

SIZES = (1, 8, 64)
SIDE = 256

Item = str | dict[str, Any]


def text(number: int) -> Item:
    return f"a red car beside house number {number}"


def picture(number: int) -> Item:
    coarse = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((SIDE, SIDE)).save(file, "JPEG")
    url = f"data:;base64,{base64.b64encode(file.getvalue()).decode()}"
    return {"content": [{"type": "image_url", "image_url": {"url": url}}]}


def per_second(client: httpx.Client, items: Sequence[Item]) -> float:
    started_at = time.perf_counter()
    body = {"input": list(items), "encoding_format": "base64"}
    client.post("/v1/embeddings", json=body).raise_for_status()
    return len(items) / (time.perf_counter() - started_at)


def rows(client: httpx.Client, rounds: int) -> Iterator[str]:
    kinds: dict[str, Callable[[int], Item]] = {"texts": text, "pictures of 256 x 256": picture}
    numbers = count()
    for name, make in kinds.items():
        for size in SIZES:
            batches = [[make(next(numbers)) for _ in range(size)] for _ in range(rounds + 1)]
            speeds = [per_second(client, batch) for batch in batches][1:]
            yield f"| {name}, {size} a request | {spread(speeds)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    with (
        process.pandagpt(given.model) as server,
        httpx.Client(base_url=server.url, timeout=120) as client,
    ):
        print(f"{process.machine()}\n\n| items | embeddings a second |\n| --- | --- |")
        for row in rows(client, given.rounds):
            print(row, flush=True)


if __name__ == "__main__":
    main()
