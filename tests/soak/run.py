"""A live server of the bundled model under mixed load, measured after each tenth of it."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import httpx

from tests.chaos.questions import CHAT, EMBEDDINGS, Answer, Question, ask, judged, leave_early
from tests.chaos.target import Known, known_answers, server
from tests.chaos.tree import Tree
from tests.fuzz.cases import case
from tests.fuzz.check import check
from tests.soak.judge import Sample

NUM_PARTS = 10
NUM_CLIENTS = 4
BAD, MEDIA, IMPATIENT = 0.1, 0.2, 0.05
SETTLE_SECONDS = 0.3
# So small that they are full before the middle.
CACHES = ("--prefix-cache-mb", "8", "--encoder-cache-mb", "1")

Task = Callable[[httpx.Client], str | None]
"""What was wrong with the answer, if anything."""


@dataclass(frozen=True, slots=True)
class Soak:
    samples: list[Sample]
    wrong: list[str]


def soak(num_requests: int, faults: str = "", show: Callable[[str], None] = print) -> Soak:
    known = known_answers()
    samples, wrong = [], []
    with server(faults, *CACHES) as target:
        for part in range(NUM_PARTS):
            numbers = range(
                part * num_requests // NUM_PARTS, (part + 1) * num_requests // NUM_PARTS
            )
            started_at = time.perf_counter()
            wrong += _serve(target.url, [_task(number, known) for number in numbers])
            seconds = time.perf_counter() - started_at
            time.sleep(SETTLE_SECONDS)
            tree = Tree(target.pid)
            samples.append(Sample(tree.memory_bytes(), tree.num_files(), seconds))
            show(f"{numbers.stop} requests, {_in_words(samples[-1], len(numbers))}")
    return Soak(samples, wrong)


def _in_words(sample: Sample, num_requests: int) -> str:
    megabytes, pace = sample.memory_bytes / 1e6, num_requests / sample.seconds
    return f"{megabytes:.1f} MB, {sample.num_files} files, {pace:.1f}/s"


def _serve(url: str, tasks: list[Task]) -> list[str]:
    """Connections do not outlive their part."""
    with (
        httpx.Client(base_url=url, timeout=60) as client,
        ThreadPoolExecutor(NUM_CLIENTS) as pool,
    ):
        return [wrong for wrong in pool.map(lambda task: task(client), tasks) if wrong]


def _task(number: int, known: Known) -> Task:
    """A function of its number alone, but for the answers."""
    lot = random.Random(number)
    kind = lot.random()
    if kind < BAD:
        return lambda client: check(client, case(number))
    has_media = kind < BAD + MEDIA
    question, answer = lot.choice([pair for pair in known if _has_media(pair[0]) == has_media])
    if question.path == CHAT and lot.random() < IMPATIENT:
        return partial(leave_early, question=question)
    return partial(_ask, question=question, expected=answer)


def _ask(client: httpx.Client, question: Question, expected: Answer) -> str | None:
    """In a run without trouble an error is wrong too."""
    reply = judged(ask(client, question), expected)
    return None if reply.verdict == "right" else f"{question}: {reply.what}"


def _has_media(question: Question) -> bool:
    items = question.body["input" if question.path == EMBEDDINGS else "messages"]
    return any(not isinstance(item, str) and isinstance(item["content"], list) for item in items)
