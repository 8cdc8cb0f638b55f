"""What befalls the processes of a server, one trouble after another, on a thread of its own."""

import random
import signal
import threading
from collections import Counter
from contextlib import suppress

import psutil

from tests.chaos.tree import Tree

STEP_TIMEOUT_SECONDS = 1.5

# Of one process of the engine, which is replaced every few seconds.
FAULTS = ",".join(
    (
        *("step=exception%83", "step=exception%251x4", "step=nan%307", "step=oom%61x3"),
        *("sample=exception%427x3", "text=exception%1201", "grammar=exception%97"),
        *("encode=exception%13", "encode=nan%59x2", "encode=oom%47x2", "step=hang@1500"),
    )
)


class Troubles:
    """Random, but the same for the same seed; one in `mean_seconds`."""

    def __init__(self, tree: Tree, seed: int, mean_seconds: float) -> None:
        self.happened: Counter[str] = Counter()
        self._tree = tree
        self._mean_seconds = mean_seconds
        self._lot = random.Random(seed)
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
        }
        while not self._is_over.wait(self._lot.uniform(0.5, 1.5) * self._mean_seconds):
            name = self._lot.choice(list(kinds))
            with suppress(psutil.Error):
                self.happened[name] += kinds[name]()

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
