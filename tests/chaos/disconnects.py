"""Clients that leave at any moment, politely or not: nothing of them may stay."""

import json
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx

from tests.chaos.questions import CHAT, ask, judged
from tests.chaos.report import Report
from tests.chaos.run import pinged
from tests.chaos.target import (
    TIMEOUT_SECONDS,
    Known,
    check_end,
    num_files_when_idle,
    num_in_engine,
    server,
    until,
)
from tests.chaos.tree import Tree

NUM_CLIENTS = 20
MAX_SECONDS = 20.0
NUM_AFTERWARDS = 5
STORY = {"messages": [{"role": "user", "content": "A long story."}], "max_tokens": 400}
ENDS = (b"HTTP/1.1 503", b"data: [DONE]")
FORM = "multipart/form-data; boundary=B"
PART = b'--B\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"a" * 200_000
# Closes with a reset instead of an end.
AT_ONCE = struct.pack("ii", 1, 0)


def disconnects(number: int, known: Known, folder: Path) -> tuple[Report, Counter[str], float]:
    """How often at which moment, and the seconds from the last until nothing was in the engine.
    `folder` is for uploads."""
    report, moments = Report(), Counter[str]()
    with server("", "--files-dir", str(folder)) as target:
        tree = Tree(target.pid)
        num_files = num_files_when_idle(target, tree)
        port = httpx.URL(target.url).port or 0
        with pinged(target.url, report), ThreadPoolExecutor(NUM_CLIENTS) as pool:
            moments.update(pool.map(lambda index: _leave(port, index), range(number)))
        left_at = time.monotonic()
        if not until(lambda: num_in_engine(target.url) == 0, MAX_SECONDS):
            report.defects.append(f"gauges: {num_in_engine(target.url):g} after {MAX_SECONDS} s")
        seconds = time.monotonic() - left_at
        with httpx.Client(base_url=target.url, timeout=TIMEOUT_SECONDS) as client:
            for question, expected in known[:NUM_AFTERWARDS]:
                reply = judged(ask(client, question), expected)
                report.count(reply.verdict, reply.verdict, f"{question}: {reply.what}")
        check_end(target, tree, num_files, known, report)
    if left := [path.name for path in folder.iterdir()]:
        report.defects.append(f"{len(left)} files of uploads that never ended")
    return report, moments, seconds


def _leave(port: int, index: int) -> str:
    """A function of `index` alone, but for what else goes on."""
    lot = random.Random(index)
    moment = list(MOMENTS)[index % len(MOMENTS)]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        with suppress(ConnectionError):
            MOMENTS[moment](sock, lot)
        if is_rude := lot.random() < 0.5:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        else:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
    return f"{moment}, {'reset' if is_rude else 'closed'}"


def _in_a_stream(sock: socket.socket, lot: random.Random) -> None:
    """At the latest when the server has no room for it, or the story was a short one."""
    _send(sock, STORY | {"stream": True})
    data, num_events = b"", lot.randint(1, 5)
    while data.count(b"data: ") < num_events and not any(end in data for end in ENDS):
        if not (piece := sock.recv(4096)):
            return
        data += piece


def _waiting(sock: socket.socket, lot: random.Random) -> None:
    _send(sock, STORY)
    time.sleep(lot.uniform(0, 0.1))


def _in_a_body(sock: socket.socket, lot: random.Random) -> None:
    _send(sock, STORY, num_missing=lot.randint(1, 50))
    time.sleep(lot.uniform(0, 0.02))


def _in_an_upload(sock: socket.socket, lot: random.Random) -> None:
    sock.sendall(_head("/v1/files", FORM, 2 * len(PART)))
    sock.sendall(PART[: lot.randint(1, len(PART))])
    time.sleep(lot.uniform(0, 0.05))


MOMENTS: dict[str, Callable[[socket.socket, random.Random], None]] = {
    "in a stream": _in_a_stream,
    "waiting": _waiting,
    "in a body": _in_a_body,
    "in an upload": _in_an_upload,
}


def _send(sock: socket.socket, body: object, num_missing: int = 0) -> None:
    content = json.dumps(body).encode()
    head = _head(CHAT, "application/json", len(content))
    sock.sendall(head + content[: len(content) - num_missing])


def _head(path: str, kind: str, length: int) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-type: {kind}"]
    return "\r\n".join([*lines, f"content-length: {length}", "", ""]).encode()
