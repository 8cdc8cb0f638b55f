"""A live server of the bundled model under mixed load, while its processes are in trouble."""

import math
import random
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import cycle, islice

import httpx

from tests.bench.process import answers
from tests.chaos.questions import CHAT, Answer, Question, Reply, ask, judged, leave_early
from tests.chaos.report import Report
from tests.chaos.target import (
    NUM_ACCEPTED,
    TIMEOUT_SECONDS,
    Known,
    check_end,
    num_files_when_idle,
    server,
    until,
    wait_until_ready,
)
from tests.chaos.tree import Tree
from tests.chaos.troubles import DENSE_SECONDS, STEP_TIMEOUT_SECONDS, Troubles, faults

NUM_CLIENTS = 6
PING_SECONDS = 0.05
MAX_PING_SECONDS = 5.0
NUM_REPEATS = 2
# Of requests, who leave before their answer has ended.
IMPATIENT = 0.1


def chaos(
    seconds: float,
    seed: int,
    known: Known,
    trouble_seconds: float = DENSE_SECONDS,
    num_servers: int = 1,
) -> Report:
    """Each of the servers has its own troubles; a client knows all of them."""
    report = Report()
    options = ("--step-timeout-s", str(STEP_TIMEOUT_SECONDS), "--allow-media-urls")
    with ExitStack() as stack:
        faulty = partial(server, faults(trouble_seconds), *options)
        targets = [stack.enter_context(faulty()) for _ in range(num_servers)]
        trees = [Tree(target.pid) for target in targets]
        num_files = [num_files_when_idle(*pair) for pair in zip(targets, trees, strict=True)]
        urls, deadline = [target.url for target in targets], time.monotonic() + seconds
        clients = [
            partial(_client, urls, known, random.Random(f"{seed} {number}"), deadline, report)
            for number in range(NUM_CLIENTS)
        ]
        with ExitStack() as trouble:
            for number, (target, tree) in enumerate(zip(targets, trees, strict=True)):
                trouble.enter_context(pinged(target.url, report))
                lot = random.Random(seed + number)
                trouble.enter_context(Troubles(target, tree, lot, trouble_seconds, report))
            _run_together(clients)
        for target, tree, number in zip(targets, trees, num_files, strict=True):
            check_end(target, tree, number, known, report)
    return report


def kills(number: int, known: Known) -> tuple[Report, list[float]]:
    """The engine is killed `number` times beside as many requests as are accepted, not streamed;
    the seconds until it answered again."""
    report = Report()
    seconds: list[float] = []
    whole = [(q, a) for q, a in known if q.path == CHAT and not q.is_streamed]
    with server("") as target, pinged(target.url, report):
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
    until(lambda: not answers("/ready")(url), 5)
    if wait_until_ready(url, report):
        seconds.append(time.monotonic() - started_at)


def _ask_at(
    ready: threading.Barrier, url: str, pair: tuple[Question, Answer], report: Report
) -> None:
    with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS) as client:
        client.get("/health")
        ready.wait()
        _ask_and_count([client], *pair, report)


def _client(
    urls: Sequence[str], known: Known, lot: random.Random, deadline: float, report: Report
) -> None:
    with ExitStack() as stack:
        clients = [
            stack.enter_context(httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS)) for url in urls
        ]
        while time.monotonic() < deadline:
            question, expected = lot.choice(known)
            lot.shuffle(clients)
            if question.path == CHAT and lot.random() < IMPATIENT:
                leave_early(clients[0], question)
            else:
                _ask_and_count(clients, question, expected, report, deadline)


def _ask_and_count(
    clients: Sequence[httpx.Client],
    question: Question,
    expected: Answer,
    report: Report,
    deadline: float = math.inf,
) -> None:
    """Asked again after an honest error, of the next server, though not after the deadline."""
    replies: list[Reply] = []
    for client in islice(cycle(clients), 1 + NUM_REPEATS):
        replies.append(reply := judged(ask(client, question), expected))
        if reply.verdict != "error" or time.monotonic() > deadline:
            break
        time.sleep(reply.retry_after_seconds or 0.5)
    report.count(replies[0].verdict, replies[-1].verdict, f"{question}: {replies[-1].what}")
    report.errors.update(reply.what for reply in replies if reply.verdict == "error")


@contextmanager
def pinged(url: str, report: Report) -> Generator[None]:
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
