"""Uploaded files on disk: written under a temporary name, seen once whole, gone when expired.

Each file is two in one flat folder, content and facts, named by its random id. Callers see
only their own, and none that has expired. Every method may block and may be called from any
thread.
"""

import errno
import json
import re
import shutil
import threading
import time
import uuid
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from pandagpt.errors import (
    FileQuotaExceeded,
    InvalidValue,
    MediaTooLarge,
    Overloaded,
    PandaError,
    StorageFull,
    UnknownFile,
)

ID_PREFIX = "file-"
MAX_FILES_PER_CALLER = 10_000
MAX_UPLOADS = 64
# Other programs need some of the disk, and a full one stops more than uploads.
MIN_FREE_BYTES = 2**30
MIN_FREE_SHARE = 0.1
_FACTS, _PART = ".json", ".part"
_OWN_NAME = re.compile(rf"[0-9a-f]{{32}}({_FACTS}|{_PART})?")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """`owner` is the caller's name; times are Unix seconds."""

    id: str
    owner: str
    name: str
    purpose: str
    num_bytes: int
    created_at: int
    expires_at: int

    @property
    def stem(self) -> str:
        return self.id.removeprefix(ID_PREFIX)

    @property
    def has_expired(self) -> bool:
        return self.expires_at <= time.time()


@dataclass(frozen=True, slots=True)
class FileLimits:
    max_file_bytes: int
    max_bytes_per_caller: int
    max_bytes: int


class FileStore:
    """Holds what is on disk in an index, since no other process writes there."""

    def __init__(self, folder: Path, limits: FileLimits) -> None:
        self.folder = folder
        self.limits = limits
        self._lock = threading.RLock()
        self._files: dict[str, StoredFile] = {}
        self._used: Counter[str] = Counter()
        self._num_uploads = 0
        for file in _tidy(folder):
            self._keep(file)

    def begin(self, owner: str) -> "Upload":
        """To be closed, whatever comes of it. Raises Overloaded and FileQuotaExceeded."""
        with self._lock:
            self.sweep()
            if self._num_uploads >= MAX_UPLOADS:
                raise Overloaded("The server is receiving as many files as it can. Try again soon.")
            if len(self.of(owner)) >= MAX_FILES_PER_CALLER:
                raise _quota(f"{MAX_FILES_PER_CALLER} files")
            upload = Upload(self, owner)
            self._num_uploads += 1
            return upload

    def of(self, owner: str) -> list[StoredFile]:
        """Oldest first."""
        with self._lock:
            own = [file for file in self._files.values() if file.owner == owner]
        return [file for file in own if not file.has_expired]

    def get(self, file_id: str, owner: str) -> StoredFile:
        """Raises UnknownFile, also for another caller's."""
        file = self._files.get(file_id)
        if file is None or file.owner != owner or file.has_expired:
            raise _unknown(file_id)
        return file

    def open(self, file_id: str, owner: str) -> BinaryIO:
        """The content; stays readable if the file is deleted meanwhile. Raises UnknownFile."""
        try:
            return (self.folder / self.get(file_id, owner).stem).open("rb")
        except FileNotFoundError:
            # Deleted meanwhile, or by whatever else clears this folder.
            raise _unknown(file_id) from None

    def read(self, file_id: str, owner: str) -> bytes:
        """Raises UnknownFile."""
        with self.open(file_id, owner) as file:
            return file.read()

    def delete(self, file_id: str, owner: str) -> None:
        """Raises UnknownFile."""
        with self._lock:
            self._drop(self.get(file_id, owner))

    def sweep(self) -> None:
        """Removes what has expired."""
        with self._lock:
            for file in [file for file in self._files.values() if file.has_expired]:
                self._drop(file)

    def take(self, owner: str, num_bytes: int) -> None:
        """Room for a file that is being written. Raises FileQuotaExceeded and StorageFull."""
        with self._lock:
            if self._used[owner] + num_bytes > self.limits.max_bytes_per_caller:
                raise _quota(f"{self.limits.max_bytes_per_caller} bytes of files")
            is_full = self._used.total() + num_bytes > self.limits.max_bytes
            if is_full or num_bytes > _free_bytes(self.folder):
                raise _no_room()
            self._used[owner] += num_bytes

    def end(self, owner: str, num_bytes: int) -> None:
        """An upload is over, and its room free again unless the file is kept."""
        with self._lock:
            self._used[owner] -= num_bytes
            self._num_uploads -= 1

    def keep(self, file: StoredFile) -> None:
        with self._lock:
            self._keep(file)

    def _keep(self, file: StoredFile) -> None:
        self._files[file.id] = file
        self._used[file.owner] += file.num_bytes

    def _drop(self, file: StoredFile) -> None:
        """The facts first: content without them is cleared at the next start."""
        for name in (file.stem + _FACTS, file.stem):
            (self.folder / name).unlink(missing_ok=True)
        del self._files[file.id]
        self._used[file.owner] -= file.num_bytes


class Upload:
    """One file while it is written."""

    def __init__(self, store: FileStore, owner: str) -> None:
        self._store = store
        self._owner = owner
        self._stem = uuid.uuid4().hex
        self._part = store.folder / (self._stem + _PART)
        self._num_bytes = 0
        with _disk_errors():
            self._file = self._part.open("xb")

    def write(self, data: bytes) -> None:
        """Raises MediaTooLarge, FileQuotaExceeded and StorageFull."""
        limit = self._store.limits.max_file_bytes
        if self._num_bytes + len(data) > limit:
            raise MediaTooLarge(f"The file has more than {limit} bytes, the limit.", "file")
        self._store.take(self._owner, len(data))
        self._num_bytes += len(data)
        with _disk_errors():
            self._file.write(data)

    def finish(self, name: str, purpose: str, ttl_seconds: int) -> StoredFile:
        """Raises InvalidValue for an empty file, and StorageFull."""
        if not self._num_bytes:
            raise InvalidValue("The file is empty.", "file")
        now = int(time.time())
        file = StoredFile(
            ID_PREFIX + self._stem,
            self._owner,
            name,
            purpose,
            self._num_bytes,
            now,
            now + ttl_seconds,
        )
        folder = self._store.folder
        with _disk_errors():
            self._file.close()
            self._part.replace(folder / self._stem)
            self._part.write_text(json.dumps(asdict(file)))
            self._part.replace(folder / (self._stem + _FACTS))
        self._store.keep(file)
        return file

    def close(self) -> None:
        """To be called whatever has happened; what is not finished is removed."""
        is_kept = (self._store.folder / (self._stem + _FACTS)).exists()
        try:
            self._file.close()
        except OSError:
            pass  # buffered bytes that the disk has refused before
        finally:
            self._part.unlink(missing_ok=True)
            if not is_kept:
                (self._store.folder / self._stem).unlink(missing_ok=True)
            self._store.end(self._owner, self._num_bytes)


@contextmanager
def _disk_errors() -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise _no_room() from None


def _free_bytes(folder: Path) -> float:
    disk = shutil.disk_usage(folder)
    return disk.free - min(MIN_FREE_BYTES, disk.total * MIN_FREE_SHARE)


def _unknown(file_id: str) -> UnknownFile:
    return UnknownFile(f"No such file: '{file_id[:64]}'. It may have expired.")


def _quota(limit: str) -> PandaError:
    message = f"You have reached your limit of {limit}. Delete some, or wait until they expire."
    return FileQuotaExceeded(message, "file")


def _no_room() -> PandaError:
    return StorageFull("The server has no room for this file now. Delete files you do not need.")


def _tidy(folder: Path) -> list[StoredFile]:
    """What is whole and not expired, oldest first; every other file of ours is removed.

    Names that are not ours stay: the operator may have named a folder with other things in it.
    """
    names = {path.name for path in folder.iterdir() if _OWN_NAME.fullmatch(path.name)}
    stems = (name.removesuffix(_FACTS) for name in names if name.endswith(_FACTS))
    files = [file for stem in stems if (file := _whole(folder, stem))]
    kept = {file.stem for file in files}
    for name in names - kept - {stem + _FACTS for stem in kept}:
        (folder / name).unlink()
    return sorted(files, key=lambda file: file.created_at)


def _whole(folder: Path, stem: str) -> StoredFile | None:
    try:
        file = StoredFile(**json.loads((folder / (stem + _FACTS)).read_bytes()))
        is_whole = file.stem == stem and (folder / stem).stat().st_size == file.num_bytes
        return file if is_whole and not file.has_expired else None
    except (OSError, TypeError, ValueError, AttributeError):
        return None
