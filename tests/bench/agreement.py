"""How often weights kept in fewer bits change a greedy answer of the bundled model.

    python -m tests.bench.agreement

Every sample is asked every question, and each answer is compared with that of float32 weights.
"""

import asyncio
from collections.abc import Sequence
from itertools import product
from typing import Any

from pandagpt.api.source import sample_names
from tests.bench import process
from tests.bench.load import chat, run_stream
from tests.bench.throughput import MEDIA_PARTS, SUFFIXES, question

TEXTS = (
    "What is this?",
    "What colour is it?",
    "How big is it?",
    "Is it an animal?",
    "Is it dangerous?",
    "Where would you find it?",
    "Describe what you see or hear.",
)
NUM_TOKENS = 24
REFERENCE = "none"


def kind_of(sample: str) -> str:
    """The longest suffix that fits: a depth map's name ends like a picture's."""
    fitting = [(suffix, kind) for kind, names in SUFFIXES.items() for suffix in names]
    return max((s for s in fitting if sample.endswith(s[0])), key=lambda s: len(s[0]))[1]


def bodies() -> list[dict[str, Any]]:
    samples = [(kind_of(name), f"sample://{name}") for name in sample_names()]
    assert {kind for kind, _ in samples} == set(MEDIA_PARTS)
    return [
        chat(question(text, kind, url), max_tokens=NUM_TOKENS)
        for (kind, url), text in product(samples, TEXTS)
    ]


async def texts(url: str) -> list[str]:
    return [(await run_stream(url, body)).text for body in bodies()]


def answers(quantization: str) -> list[str]:
    with process.pandagpt("tiny", "--quantization", quantization) as server:
        return asyncio.run(texts(server.url))


def share(ours: Sequence[str], theirs: Sequence[str]) -> float:
    return sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(ours)


def main() -> None:
    reference = answers(REFERENCE)
    print(f"{len(reference)} answers\n\n| weights | same text as float32 |\n|---|---|")
    for quantization in ("fp16", "int16", "int8"):
        print(f"| {quantization} | {share(answers(quantization), reference):.1%} |")


if __name__ == "__main__":
    main()
