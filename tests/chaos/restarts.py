"""A server that is told to end and started again, while clients go on asking: whoever was let in
is answered whole.

A request that fails without an answer counts as lost if the server has read it, which its log
tells by the request's id; a connection that it has never read counts as refused.
"""

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from tests.bench.process import ROOT, free_port, pandagpt_command
from tests.chaos.questions import ask, judged
from tests.chaos.report import Report
from tests.chaos.target import TIMEOUT_SECONDS, Known, wait_until_ready

NUM_CLIENTS = 6
MAX_END_SECONDS = 30.0
# Between two signals, from the moment that the server is ready.
SERVING_SECONDS = (0.3, 1.2)


@dataclass(slots=True)
class Asked:
    """What became of the requests; `unanswered` by id, with what was seen instead."""

    report: Report = field(default_factory=Report)
    unanswered: dict[str, str] = field(default_factory=dict)


def restarts(number: int, known: Known, seed: int = 1) -> tuple[Report, list[float]]:
    """And the seconds that the server took to end, each time."""
    asked, lot, seconds = Asked(), random.Random(seed), list[float]()
    with TemporaryDirectory() as folder:
        port, log = free_port(), Path(folder) / "log"
        with log.open("wb") as file, ThreadPoolExecutor(NUM_CLIENTS) as pool:
            is_over = threading.Event()
            clients = [
                pool.submit(_ask_on, f"http://127.0.0.1:{port}", name, known, is_over, asked)
                for name in range(NUM_CLIENTS)
            ]
            for _ in range(number):
                with _serving(port, file.fileno(), asked.report) as server:
                    time.sleep(lot.uniform(*SERVING_SECONDS))
                    seconds.append(_end(server, asked.report))
            is_over.set()
            for client in clients:
                client.result()
        _tell_lost(asked, log.read_text())
        if asked.report.defects:
            asked.report.defects += _last_words(log.read_text())
    return asked.report, seconds


@contextmanager
def _serving(port: int, log: int, report: Report) -> Generator[subprocess.Popen[bytes]]:
    command = pandagpt_command("tiny", "--threads", "1", "--log-format", "json")(port)
    process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, start_new_session=True)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", report)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _end(server: subprocess.Popen[bytes], report: Report) -> float:
    started_at = time.monotonic()
    server.terminate()
    try:
        if status := server.wait(MAX_END_SECONDS):
            report.defects.append(f"ended with status {status}")
    except subprocess.TimeoutExpired:
        report.defects.append(f"had not ended after {MAX_END_SECONDS:.0f} s")
    return time.monotonic() - started_at


def _ask_on(url: str, name: int, known: Known, is_over: threading.Event, asked: Asked) -> None:
    """Each time by a new connection: one that idles may be closed while a request is on its way."""
    lot, number = random.Random(name), 0
    while not is_over.is_set():
        number += 1
        request_id = f"asked-{name}-{number}"
        question, expected = lot.choice(known)
        headers = {"x-request-id": request_id}
        with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, headers=headers) as client:
            reply = judged(ask(client, question), expected)
        if reply.verdict == "right":
            asked.report.count("right", "right", "")
            continue
        if reply.verdict == "error" and reply.what.startswith("503"):
            asked.report.errors[reply.what] += 1
        elif "ConnectError" in reply.what:
            asked.report.errors["no connection"] += 1
        else:
            asked.unanswered[request_id] = reply.what
        is_over.wait(0.05)


def _tell_lost(asked: Asked, log: str) -> None:
    for request_id, what in asked.unanswered.items():
        if f'"{request_id}"' in log:
            asked.report.count("wrong", "wrong", f"lost: {what}")
        else:
            asked.report.errors["a connection that was closed unread"] += 1


def _last_words(log: str) -> list[str]:
    """Of the servers, besides the lines of requests."""
    return [line for line in log.splitlines() if '"event": "request"' not in line][-10:]
