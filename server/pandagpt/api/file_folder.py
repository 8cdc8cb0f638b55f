"""The folder that uploads are kept in: the operator's, or a temporary one of this server alone.

A folder belongs to the server that holds its lock, which the kernel lets go however a server
ends. So what a killed one has left can be told from what another uses.
"""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pandagpt.errors import OperatorError

PREFIX = "pandagpt-files-"


@dataclass(frozen=True, slots=True)
class FileFolder:
    path: Path
    lock: int
    is_temporary: bool

    def close(self) -> None:
        if self.is_temporary:
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


def open_folder(path: Path | None) -> FileFolder:
    """None: a temporary one. Raises OperatorError."""
    if path is None:
        return _temporary()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (lock := _lock(path)) is not None:
            return FileFolder(path, lock, is_temporary=False)
    except OSError as error:
        raise OperatorError(f"cannot use --files-dir {path}: {error.strerror}") from None
    raise OperatorError(f"another server uses {path}; give each its own --files-dir")


def _temporary() -> FileFolder:
    _remove_left_over()
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX))
        # A server that starts at the same moment may take it for left over until it is locked.
        with suppress(FileNotFoundError):
            if (lock := _lock(path)) is not None:
                if path.is_dir():
                    return FileFolder(path, lock, is_temporary=True)
                os.close(lock)


def _remove_left_over() -> None:
    """The temporary folders of servers that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            lock = _lock(path) if path.lstat().st_uid == os.getuid() else None
        except OSError:
            continue
        if lock is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def _lock(path: Path) -> int | None:
    """None if a live server holds it. Never follows a link to the folder."""
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    except OSError:
        os.close(lock)
        raise
    return lock
