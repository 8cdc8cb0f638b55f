"""A live server of the bundled model under mixed load, while its processes are in trouble."""

import math
import random
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial

import httpx
import psutil

from tests.bench.process import Server, answers, pandagpt_command, running
from tests.chaos.questions import CHAT, Answer, Question, Reply, ask, judged, leave_early, questions
from tests.chaos.report import Report
from tests.chaos.tree import Tree
from tests.chaos.troubles import FAULTS, STEP_TIMEOUT_SECONDS, Troubles

NUM_CLIENTS = 6
MAX_ROWS, MAX_QUEUE = 4, 12
NUM_ACCEPTED = MAX_ROWS + MAX_QUEUE
TIMEOUT_SECONDS = 60.0
READY_SECONDS = 60.0
PING_SECONDS = 0.05
MAX_PING_SECONDS = 5.0
NUM_REPEATS = 2
# Of requests, who leave before their answer has ended.
IMPATIENT = 0.1

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


def chaos(
    seconds: float, seed: int, known: Known, trouble_seconds: float = 3.0
) -> tuple[Report, Troubles]:
    report = Report()
    options = ("--step-timeout-s", str(STEP_TIMEOUT_SECONDS))
    with server(FAULTS, *options) as target:
        tree = Tree(target.pid)
        num_files = _num_files_when_idle(target, tree)
        deadline = time.monotonic() + seconds
        clients = [
            partial(_client, target.url, known, random.Random(f"{seed} {number}"), deadline, report)
            for number in range(NUM_CLIENTS)
        ]
        with _pinged(target.url, report), Troubles(tree, seed, trouble_seconds) as troubles:
            _run_together(clients)
        _check_end(target, tree, num_files, known, report)
    return report, troubles


def kills(number: int, known: Known) -> tuple[Report, list[float]]:
    """The engine is killed `number` times beside as many requests as are accepted, not streamed;
    the seconds until it answered again."""
    report = Report()
    seconds: list[float] = []
    whole = [(q, a) for q, a in known if q.path == CHAT and not q.is_streamed]
    with server("") as target, _pinged(target.url, report):
        tree = Tree(target.pid)
        for round_number in range(number):
            pairs = [whole[(round_number + i) % len(whole)] for i in range(NUM_ACCEPTED)]
            ready = threading.Barrier(NUM_ACCEPTED + 1, timeout=TIMEOUT_SECONDS)
            asking = [partial(_ask_at, ready, target.url, pair, report) for pair in pairs]
            _run_together([*asking, partial(_kill_at, ready, target.url, tree, seconds, report)])
    return report, seconds


def _run_together(tasks: Sequence[Callable[[], None]]) -> None:
    with ThreadPoolExecutor(len(tasks)) as pool:
        futures = [pool.submit(task) for task in tasks]
    for future in futures:
        future.result()


def _kill_at(
    ready: threading.Barrier, url: str, tree: Tree, seconds: list[float], report: Report
) -> None:
    """Soon after all have asked; how long until the next engine serves."""
    ready.wait()
    time.sleep(0.02)
    if (engine := tree.engine()) is None:
        return
    engine.kill()
    started_at = time.monotonic()
    _until(lambda: not answers("/ready")(url), 5)
    if _wait_until_ready(url, report):
        seconds.append(time.monotonic() - started_at)


def _ask_at(
    ready: threading.Barrier, url: str, pair: tuple[Question, Answer], report: Report
) -> None:
    with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS) as client:
        client.get("/health")
        ready.wait()
        _ask_and_count(client, *pair, report)


def _client(url: str, known: Known, lot: random.Random, deadline: float, report: Report) -> None:
    with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS) as client:
        while time.monotonic() < deadline:
            question, expected = lot.choice(known)
            if question.path == CHAT and lot.random() < IMPATIENT:
                leave_early(client, question)
            else:
                _ask_and_count(client, question, expected, report, deadline)


def _ask_and_count(
    client: httpx.Client,
    question: Question,
    expected: Answer,
    report: Report,
    deadline: float = math.inf,
) -> None:
    """Asked again after an honest error, though not after the deadline."""
    replies: list[Reply] = []
    for _ in range(1 + NUM_REPEATS):
        replies.append(reply := judged(ask(client, question), expected))
        if reply.verdict != "error" or time.monotonic() > deadline:
            break
        time.sleep(reply.retry_after_seconds or 0.5)
    report.count(replies[0].verdict, replies[-1].verdict, f"{question}: {replies[-1].what}")
    report.errors.update(reply.what for reply in replies if reply.verdict == "error")


@contextmanager
def _pinged(url: str, report: Report) -> Generator[None]:
    is_over = threading.Event()
    thread = threading.Thread(target=_ping, args=(url, report, is_over))
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _ping(url: str, report: Report, is_over: threading.Event) -> None:
    with httpx.Client(base_url=url, timeout=MAX_PING_SECONDS) as client:
        while not is_over.wait(PING_SECONDS):
            started_at = time.perf_counter()
            try:
                status = client.get("/health").status_code
            except httpx.HTTPError as error:
                report.defects.append(f"liveness failed: {error!r}")
                continue
            if status != 200:
                report.defects.append(f"liveness: status {status}")
            report.num_pings += 1
            seconds = time.perf_counter() - started_at
            report.worst_ping_seconds = max(report.worst_ping_seconds, seconds)


# -- the end


def _check_end(target: Server, tree: Tree, num_files: int, known: Known, report: Report) -> None:
    """The same room as before, nothing at work, no file left open."""
    if not _wait_until_ready(target.url, report):
        return
    engine = tree.engine()
    if engine is None or not _until(lambda: _is_idle(engine), 10):
        report.defects.append("the engine is at work, though nobody has asked")
    pair = next(pair for pair in known if pair[0].path == CHAT)
    with ThreadPoolExecutor(NUM_ACCEPTED) as pool:
        replies = list(pool.map(lambda _: _ask_once(target.url, pair[0]), range(NUM_ACCEPTED)))
    if full := [reply.what for reply in replies if "full" in reply.what]:
        report.defects.append(f"room was lost: {full[0]}")
    if not _until(lambda: tree.num_files() <= num_files, 10):
        report.defects.append(f"open files: {tree.num_files()}, {num_files} at first")


def _num_files_when_idle(target: Server, tree: Tree) -> int:
    """Once everything has been used for the first time."""
    for question in questions():
        _ask_once(target.url, question)
    _until(lambda: len(tree.decoders()) == 2, 10)
    time.sleep(0.5)
    return tree.num_files()


def _ask_once(url: str, question: Question) -> Reply:
    with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS) as client:
        return ask(client, question)


def _is_idle(engine: psutil.Process) -> bool:
    before = engine.cpu_times().user
    time.sleep(0.5)
    return engine.cpu_times().user - before < 0.1


def _wait_until_ready(url: str, report: Report) -> bool:
    is_ready = _until(lambda: answers("/ready")(url), READY_SECONDS)
    if not is_ready:
        report.defects.append(f"not ready within {READY_SECONDS:.0f} s")
    return is_ready


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
