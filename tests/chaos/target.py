"""A live server of the bundled model, what it answers when it is in no trouble, and whether it is
afterwards what it was before."""

import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

import httpx
import psutil

from tests.bench.process import Server, answers, pandagpt_command, running
from tests.chaos.questions import CHAT, Answer, Question, Reply, ask, questions
from tests.chaos.report import Report
from tests.chaos.tree import Tree

MAX_ROWS, MAX_QUEUE = 4, 12
NUM_ACCEPTED = MAX_ROWS + MAX_QUEUE
# Two, each with the fork that waits for the next file.
NUM_DECODERS = 4
TIMEOUT_SECONDS = 60.0
READY_SECONDS = 60.0
GAUGES = ("pandagpt:num_requests_running", "pandagpt:num_requests_waiting")

Known = list[tuple[Question, Answer]]


@contextmanager
def server(faults: str, *options: str) -> Generator[Server]:
    sizes = ("--max-num-seqs", str(MAX_ROWS), "--max-queue", str(MAX_QUEUE), "--threads", "1")
    command = pandagpt_command("tiny", *sizes, *options)
    with running(command, answers("/ready"), {"PANDAGPT_FAULTS": faults}) as started:
        yield started


@cache
def known_answers() -> Known:
    """By a server that is in no trouble."""
    with server("") as calm, httpx.Client(base_url=calm.url, timeout=TIMEOUT_SECONDS) as client:
        replies = [(question, ask(client, question)) for question in questions()]
    for question, reply in replies:
        assert reply.verdict == "right", f"{question}: {reply.what}"
    return [(question, reply.answer) for question, reply in replies]


def check_end(target: Server, tree: Tree, num_files: int, known: Known, report: Report) -> None:
    """The same room as before, nothing at work, no file left open."""
    if not wait_until_ready(target.url, report):
        return
    engine = tree.engine()
    if engine is None or not until(lambda: _is_idle(engine), 10):
        report.defects.append("the engine is at work, though nobody has asked")
    if not until(lambda: num_in_engine(target.url) == 0, 10):
        report.defects.append(f"gauges: {num_in_engine(target.url):g} requests in the engine")
    pair = next(pair for pair in known if pair[0].path == CHAT)
    with ThreadPoolExecutor(NUM_ACCEPTED) as pool:
        replies = list(pool.map(lambda _: _ask_once(target.url, pair[0]), range(NUM_ACCEPTED)))
    if full := [reply.what for reply in replies if "full" in reply.what]:
        report.defects.append(f"room was lost: {full[0]}")
    if not until(lambda: tree.num_files() <= num_files, 10):
        report.defects.append(f"open files: {tree.num_files()}, {num_files} at first")


def num_files_when_idle(target: Server, tree: Tree) -> int:
    """Once everything has been used for the first time."""
    for question in questions():
        _ask_once(target.url, question)
    until(lambda: len(tree.decoders()) == NUM_DECODERS, 10)
    time.sleep(0.5)
    return tree.num_files()


def _ask_once(url: str, question: Question) -> Reply:
    with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS) as client:
        return ask(client, question)


def _is_idle(engine: psutil.Process) -> bool:
    before = engine.cpu_times().user
    time.sleep(0.5)
    return engine.cpu_times().user - before < 0.1


def num_in_engine(url: str) -> float:
    """By the server's own gauges."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    gauges = [line for line in lines if line.startswith(GAUGES)]
    assert len(gauges) == len(GAUGES)
    return sum(float(line.split()[-1]) for line in gauges)


def wait_until_ready(url: str, report: Report) -> bool:
    is_ready = until(lambda: answers("/ready")(url), READY_SECONDS)
    if not is_ready:
        report.defects.append(f"not ready within {READY_SECONDS:.0f} s")
    return is_ready


def until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
