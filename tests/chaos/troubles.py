"""What befalls the processes of a server, one trouble after another, on a thread of its own."""

import random
import resource
import signal
import threading
from contextlib import suppress
from typing import Any

import httpx
import psutil

from tests.bench.process import Server, answers
from tests.chaos.questions import CHAT
from tests.chaos.report import Report
from tests.chaos.tree import Tree
from tests.fuzz.cases import TEXT, user

STEP_TIMEOUT_SECONDS = 1.5
# With this mean time between two troubles, an engine lives for some hundred steps.
DENSE_SECONDS = 3.0
ROOM_BYTES, TOO_LARGE = 1 << 16, bytes(1 << 20)
NO_HOST = {"type": "image_url", "image_url": {"url": "https://no-such-host.invalid/cat.png"}}


def faults(mean_seconds: float) -> str:
    """Of one process of the engine; as rare as its other troubles are."""
    steps = (
        *(("step=exception%", 83, ""), ("step=exception%", 251, "x4"), ("step=nan%", 307, "")),
        *(("step=oom%", 61, "x3"), ("step=hang@", 1500, ""), ("sample=exception%", 427, "x3")),
        *(("text=exception%", 1201, ""), ("grammar=exception%", 97, "")),
        *(("encode=exception%", 13, ""), ("encode=nan%", 59, "x2"), ("encode=oom%", 47, "x2")),
    )
    rarer = max(1.0, mean_seconds / DENSE_SECONDS)
    return ",".join(f"{what}{int(rarer * step)}{times}" for what, step, times in steps)


class Troubles:
    """Random, but the same for the same lot; one in `mean_seconds`."""

    def __init__(
        self, target: Server, tree: Tree, lot: random.Random, mean_seconds: float, report: Report
    ) -> None:
        self._target = target
        self._report = report
        self._tree = tree
        self._mean_seconds = mean_seconds
        self._lot = lot
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Troubles":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        kinds = {
            "engine killed": self._kill_engine,
            "engine stopped": self._stop_engine,
            "decoder killed": self._kill_decoder,
            "disk full": self._fill_disk,
            "host unknown": self._ask_for_no_host,
        }
        while not self._is_over.wait(self._lot.uniform(0.5, 1.5) * self._mean_seconds):
            # On a slow machine nobody would be answered between two of them.
            if not answers("/ready")(self._target.url):
                continue
            name = self._lot.choice(list(kinds))
            try:
                self._report.troubles[name] += kinds[name]()
            except psutil.Error:
                continue
            except httpx.HTTPError as error:
                self._report.defects.append(f"{name}: {error!r}")

    def _kill_engine(self) -> bool:
        if engine := self._tree.engine():
            engine.kill()
        return engine is not None

    def _stop_engine(self) -> bool:
        """For so long that its silence ends it."""
        if engine := self._tree.engine():
            engine.send_signal(signal.SIGSTOP)
            with suppress(psutil.TimeoutExpired):
                engine.wait(3 * STEP_TIMEOUT_SECONDS)
            with suppress(psutil.NoSuchProcess):
                engine.send_signal(signal.SIGCONT)
        return engine is not None

    def _kill_decoder(self) -> bool:
        decoders = self._tree.decoders()
        if decoders:
            self._lot.choice(decoders).kill()
        return bool(decoders)

    def _fill_disk(self) -> bool:
        """As the kernel tells it: no file of the server may become larger."""
        self._set_largest_file(ROOM_BYTES)
        try:
            self._expect("disk full", 507, "/v1/files", files={"file": TOO_LARGE})
        finally:
            self._set_largest_file(resource.RLIM_INFINITY)
        return True

    def _set_largest_file(self, num_bytes: int) -> None:
        limits = (num_bytes, resource.RLIM_INFINITY)
        resource.prlimit(self._target.pid, resource.RLIMIT_FSIZE, limits)

    def _ask_for_no_host(self) -> bool:
        self._expect("host unknown", 400, CHAT, json={"messages": [user(NO_HOST, TEXT)]})
        return True

    def _expect(self, what: str, status: int, path: str, **body: Any) -> None:
        response = httpx.post(f"{self._target.url}{path}", timeout=60, **body)
        if response.status_code != status:
            self._report.defects.append(f"{what}: {response.status_code} {response.text[:200]}")
