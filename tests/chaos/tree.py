"""The processes of a live server: itself, its engine and its decoders; what they hold."""

from contextlib import suppress
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Tree:
    """Of the server with this pid, which leads the others."""

    pid: int

    def engine(self) -> psutil.Process | None:
        return next(iter(self._running("pandagpt.engine")), None)

    def decoders(self) -> list[psutil.Process]:
        return self._running("pandagpt.media")

    def memory_bytes(self) -> int:
        """Resident. Proportional sizes change with who else has the same libraries loaded."""
        total = 0
        for process in self._all():
            with suppress(psutil.Error):
                total += process.memory_info().rss
        return total

    def num_files(self) -> int:
        total = 0
        for process in self._all():
            with suppress(psutil.Error):
                total += process.num_fds()
        return total

    def _all(self) -> list[psutil.Process]:
        root = psutil.Process(self.pid)
        return [root, *root.children(recursive=True)]

    def _running(self, module: str) -> list[psutil.Process]:
        """Started as `python -m MODULE`; a decoder's forks, which are its children, too."""
        found = []
        for process in self._all():
            with suppress(psutil.Error):
                if module in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found
