"""What slow and idle clients cost a server and those whom it serves beside them.

    python -m tests.bench.slow_clients [--idle 500]

Some connections idle, eighty are slow in eight ways, each beside good requests and /health every
20 ms. Prints when the server let go of each kind, and one table of the rest. A kind has a source
address of its own, 127.0.0.x, by which the server's own connections tell who is still there.
"""

import argparse
import random
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import httpx
import psutil

from tests.bench import process
from tests.bench.load import chat
from tests.bench.overload import CHAT, middle_and_most, probe

NUM_EACH = 10
CALM_SECONDS, GOOD_SECONDS, MAX_SECONDS = 5.0, 40.0, 100.0
GOOD_CLIENTS = 2
FILE_BYTES = 20_000_000
# So many ports has each source address on Linux, at least.
NUM_SOURCES = 8
SILENT = "127.0.1.{}"
ASKED_ONCE = "127.0.2.{}"

HEALTH = b"GET /health HTTP/1.1\r\nhost: x\r\n"
BODY = b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-type: %s\r\ncontent-length: 1000000\r\n\r\n"
CHAT_BODY = BODY % (CHAT.encode(), b"application/json")
UPLOAD = BODY % (b"/v1/files", b"multipart/form-data; boundary=B") + (
    b'--B\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
)


@dataclass(frozen=True, slots=True)
class Kind:
    """Sends `first`, then `drip` each second, and reads nothing."""

    name: str
    limit_seconds: float
    first: bytes = b""
    drip: bytes = b""


def kinds(file_id: str) -> list[Kind]:
    download = b"GET /v1/files/%s/content HTTP/1.1\r\nhost: x\r\n\r\n" % file_id.encode()
    return [
        Kind("says nothing", 15),
        Kind("drips a head", 15, HEALTH, b"a: b\r\n"),
        Kind("stalls in a second head", 15, HEALTH + b"\r\n" + HEALTH),
        Kind("drips a body that nobody reads", 15, CHAT_BODY.replace(b"chat", b"none"), b"a"),
        # 30 s until they are told, and 15 s to hear it.
        Kind("stalls in a body", 45, CHAT_BODY + b"{"),
        Kind("drips a body", 45, CHAT_BODY + b"{", b" "),
        Kind("drips an upload", 45, UPLOAD, b"a"),
        Kind("takes nothing of an answer", 60, download),
    ]


def source_of(number: int) -> str:
    return f"127.0.3.{number + 1}"


def connect(port: int, source: str) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    # Its port is chosen by `connect`, so that it may serve other addresses too.
    sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
    sock.bind((source, 0))
    sock.connect(("127.0.0.1", port))
    return sock


# -- each in a process of its own, so that probes wait for the server alone


def be_idle(port: int, number: int) -> int:
    """Half of them never say a word, half have asked once. How many were let in."""
    socks = []
    with suppress(OSError):
        for index in range(number):
            source = (ASKED_ONCE if index % 2 else SILENT).format(1 + index // 2 % NUM_SOURCES)
            socks.append(sock := connect(port, source))
            if index % 2:
                sock.sendall(HEALTH + b"\r\n")
    time.sleep(MAX_SECONDS)
    return len(socks)


def be_slow(port: int, slow: Sequence[Kind]) -> None:
    opened = [
        (connect(port, source_of(number)), kind)
        for number, kind in enumerate(slow)
        for _ in range(NUM_EACH)
    ]
    for sock, kind in opened:
        sock.sendall(kind.first)
    ends_at = time.monotonic() + MAX_SECONDS
    while time.monotonic() < ends_at:
        time.sleep(1)
        for sock, kind in opened:
            with suppress(OSError):
                sock.send(kind.drip)


def be_good(url: str, seconds: float) -> list[float]:
    """Seconds of each answer. Raises if one is none."""
    found: list[float] = []
    threads = [
        threading.Thread(target=_ask, args=(url, time.monotonic() + seconds, found))
        for _ in range(GOOD_CLIENTS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if min(found) < 0:
        raise RuntimeError("a good request was not answered")
    return found


def _ask(url: str, ends_at: float, found: list[float]) -> None:
    body = chat("Tell me a story.", stream=False, max_tokens=16, ignore_eos=True)
    del body["stream_options"]
    with httpx.Client(base_url=url, timeout=30) as client:
        while time.monotonic() < ends_at:
            started_at = time.perf_counter()
            try:
                client.post(CHAT, json=body).raise_for_status()
                found.append(time.perf_counter() - started_at)
            except httpx.HTTPError:
                found.append(-1.0)


# -- what the server holds


@dataclass(slots=True)
class Watch:
    """Who is connected to a process, by source address, and the seconds until nobody was."""

    pid: int
    num_open: Counter[str] = field(default_factory=Counter)
    num_most: Counter[str] = field(default_factory=Counter)
    came_at: dict[str, float] = field(default_factory=dict)
    held_seconds: dict[str, float] = field(default_factory=dict)

    def look(self) -> None:
        connections = psutil.Process(self.pid).net_connections("tcp")
        now = time.monotonic()
        self.num_open = Counter(each.raddr.ip for each in connections if each.raddr)
        self.num_most |= self.num_open
        for source in self.num_open:
            self.came_at.setdefault(source, now)
        for source, came_at in self.came_at.items():
            if source in self.num_open:
                self.held_seconds.pop(source, None)
            else:
                self.held_seconds.setdefault(source, now - came_at)


def rss_bytes(pid: int) -> int:
    return psutil.Process(pid).memory_info().rss


def wait_for(number: int, pid: int, num_files: int) -> None:
    """Until the server has let in so many, or no more come."""
    deadline = time.monotonic() + 14
    while psutil.Process(pid).num_fds() < num_files + number and time.monotonic() < deadline:
        time.sleep(0.05)


def measure(server: process.Server, num_idle: int) -> None:
    port = httpx.URL(server.url).port or 0
    slow = kinds(_upload(server.url))
    with ProcessPoolExecutor(3) as pool:
        pool.submit(be_good, server.url, 2.0).result()
        calm = pool.submit(be_good, server.url, CALM_SECONDS)
        print(row("nobody", probe(server.url, calm), calm.result()), flush=True)
        num_files, before = psutil.Process(server.pid).num_fds(), rss_bytes(server.pid)
        idling = pool.submit(be_idle, port, num_idle)
        wait_for(num_idle, server.pid, num_files)
        num_in = psutil.Process(server.pid).num_fds() - num_files
        each = (rss_bytes(server.pid) - before) / max(1, num_in)
        slowing = pool.submit(be_slow, port, slow)
        working = pool.submit(be_good, server.url, GOOD_SECONDS)
        watch, is_over = Watch(server.pid), threading.Event()
        watching = threading.Thread(target=_watch, args=(watch, is_over))
        watching.start()
        probes = probe(server.url, working)
        name = f"{len(slow) * NUM_EACH} slow, {num_idle} idle"
        print(row(name, probes, working.result()), flush=True)
        slowing.result()
        num_let_in = idling.result()
        is_over.set()
        watching.join()
    print(f"\n{num_let_in} idle connections, {each / 1000:.1f} kB (RSS) each\n")
    print("| kind | connections | limit, s | all let go after, s |\n| --- | --- | --- | --- |")
    for number, kind in enumerate(slow):
        print(_let_go(watch, kind.name, kind.limit_seconds, [source_of(number)]))
    for idle_kind, limit, pattern in (
        ("idle, never said a word", 15, SILENT),
        ("idle, asked once", 75, ASKED_ONCE),
    ):
        sources = [pattern.format(1 + number) for number in range(NUM_SOURCES)]
        print(_let_go(watch, idle_kind, limit, sources))


def _watch(watch: Watch, is_over: threading.Event) -> None:
    while not is_over.wait(1.0):
        watch.look()


def _upload(url: str) -> str:
    content = random.Random(1).randbytes(FILE_BYTES)
    answer = httpx.post(f"{url}/v1/files", files={"file": content}, timeout=60)
    return answer.raise_for_status().json()["id"]


def row(name: str, probes: Sequence[float], answers: Sequence[float]) -> str:
    answered, health = middle_and_most(answers), middle_and_most(probes)
    return f"| {name} | {len(answers)} | {answered} | {len(probes)} | {health} |"


def _let_go(watch: Watch, name: str, limit: float, sources: Sequence[str]) -> str:
    number = sum(watch.num_most[source] for source in sources)
    left = sum(watch.num_open[source] for source in sources)
    held = [watch.held_seconds[source] for source in sources if source in watch.held_seconds]
    when = f"{left} never" if left else f"{max(held, default=0):.0f}"
    return f"| {name} | {number} | {limit:g} | {when} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--idle", type=int, default=500)
    num_idle = parser.parse_args(arguments).idle
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if num_idle + 1000 > most:
        parser.error(f"this machine allows {most} open files to a process (ulimit -Hn)")
    with process.pandagpt("tiny") as server:
        print(f"{process.machine()}; {process.others()}\n")
        print("| beside | good requests | p50 / p99, ms | /health | p50 / p99, ms |")
        print("| --- | --- | --- | --- | --- |")
        measure(server, num_idle)


if __name__ == "__main__":
    main()
