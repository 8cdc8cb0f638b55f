"""Uploads on disk: whole or not at all, private, bounded, and gone when expired."""

import errno
import json
import time
from pathlib import Path
from typing import Any

import pytest

from pandagpt.api import file_store
from pandagpt.api.file_store import FileLimits, FileStore, StoredFile
from pandagpt.errors import (
    FileQuotaExceeded,
    InvalidValue,
    MediaTooLarge,
    Overloaded,
    PandaError,
    StorageFull,
    UnknownFile,
)

LIMITS = FileLimits(max_file_bytes=100, max_bytes_per_caller=150, max_bytes=250)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path, LIMITS)


def put(store: FileStore, data: bytes, owner: str = "me", ttl_seconds: int = 60) -> StoredFile:
    upload = store.begin(owner)
    try:
        upload.write(data)
        return upload.finish("a.png", "user_data", ttl_seconds)
    finally:
        upload.close()


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    now = time.time() + seconds
    monkeypatch.setattr(time, "time", lambda: now)


def test_a_file_is_whole_or_not_there(store: FileStore) -> None:
    upload = store.begin("me")
    upload.write(b"ab")
    upload.write(b"c")
    assert store.of("me") == []
    assert [path.suffix for path in store.folder.iterdir()] == [".part"]
    file = upload.finish("a.png", "vision", 60)
    upload.close()
    assert store.of("me") == [file]
    assert store.read(file.id, "me") == b"abc"
    assert (file.num_bytes, file.name, file.purpose) == (3, "a.png", "vision")
    assert {path.name for path in store.folder.iterdir()} == {file.stem, f"{file.stem}.json"}
    assert file.id == f"file-{file.stem}"


def test_others_see_nothing(store: FileStore) -> None:
    file = put(store, b"abc")
    assert store.of("you") == []
    for ask in (store.get, store.read, store.open, store.delete):
        with pytest.raises(UnknownFile):
            ask(file.id, "you")
    assert store.get(file.id, "me") == file


@pytest.mark.parametrize("file_id", ["", "file-", "file-../x", "../x", "x" * 9999, "file-\0"])
def test_ids_are_no_paths(store: FileStore, file_id: str) -> None:
    with pytest.raises(UnknownFile) as caught:
        store.read(file_id, "me")
    assert len(caught.value.message) < 200


def test_what_is_deleted_can_still_be_read_to_its_end(store: FileStore) -> None:
    file = put(store, b"abc")
    with store.open(file.id, "me") as content:
        store.delete(file.id, "me")
        assert content.read() == b"abc"
    assert list(store.folder.iterdir()) == []
    with pytest.raises(UnknownFile):
        store.get(file.id, "me")


def test_what_something_else_has_removed_is_unknown(store: FileStore) -> None:
    file = put(store, b"abc")
    (store.folder / file.stem).unlink()
    with pytest.raises(UnknownFile):
        store.read(file.id, "me")
    store.delete(file.id, "me")


def test_a_restart_finds_what_is_whole(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = put(store, b"1"), put(store, b"2", "you")
    expired, cut, torn = put(store, b"3", ttl_seconds=1), put(store, b"4"), put(store, b"5")
    later(monkeypatch, 5)
    (store.folder / cut.stem).write_bytes(b"")
    (store.folder / f"{torn.stem}.json").write_bytes(b"{")
    (store.folder / ("0" * 32)).touch()
    (store.folder / f"{'1' * 32}.part").touch()
    foreign = store.folder / "notes.txt"
    foreign.touch()
    again = FileStore(store.folder, LIMITS)
    assert again.of("me") == [first]
    assert again.of("you") == [second]
    assert again.read(first.id, "me") == b"1"
    names = {path.name for path in store.folder.iterdir()}
    whole = {name for file in (first, second) for name in (file.stem, f"{file.stem}.json")}
    assert names == whole | {foreign.name}
    assert expired.stem not in names


@pytest.mark.parametrize(
    "facts", [{}, [], {"id": 5}, {"id": "file-../../x"}, {"expires_at": "never"}]
)
def test_facts_of_others_are_not_believed(store: FileStore, facts: Any) -> None:
    file = put(store, b"1")
    path = store.folder / f"{file.stem}.json"
    known = json.loads(path.read_bytes())
    path.write_text(json.dumps(known | facts if facts else facts))
    again = FileStore(store.folder, LIMITS)
    assert again.of("me") == []


def test_what_has_expired_is_gone(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    file, lasting = put(store, b"1", ttl_seconds=10), put(store, b"2")
    later(monkeypatch, 11)
    assert store.of("me") == [lasting]
    for ask in (store.get, store.read, store.delete):
        with pytest.raises(UnknownFile):
            ask(file.id, "me")
    store.sweep()
    assert {path.stem for path in store.folder.iterdir()} == {lasting.stem}


def test_an_expired_file_makes_room(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, bytes(100), ttl_seconds=10)
    later(monkeypatch, 11)
    put(store, bytes(100))


@pytest.mark.parametrize(
    ("sizes", "owner", "error"),
    [
        ([101], "me", MediaTooLarge),
        ([0], "me", InvalidValue),
        ([100, 51], "me", FileQuotaExceeded),
    ],
)
def test_limits_leave_nothing(
    store: FileStore, sizes: list[int], owner: str, error: type[PandaError]
) -> None:
    *kept, last = sizes
    files = [put(store, bytes(size), owner) for size in kept]
    with pytest.raises(error):
        put(store, bytes(last), owner)
    assert len(list(store.folder.iterdir())) == 2 * len(files)
    put(store, bytes(50), owner)


def test_room_is_shared_by_all_callers(store: FileStore) -> None:
    put(store, bytes(100), "me")
    file = put(store, bytes(100), "you")
    with pytest.raises(StorageFull):
        put(store, bytes(51), "they")
    put(store, bytes(50), "they")
    store.delete(file.id, "you")
    put(store, bytes(100), "you")


def test_an_unfinished_upload_takes_room_until_it_ends(store: FileStore) -> None:
    upload = store.begin("me")
    upload.write(bytes(100))
    with pytest.raises(FileQuotaExceeded):
        put(store, bytes(51))
    upload.close()
    put(store, bytes(100))


def test_uploads_and_files_are_counted(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_store, "MAX_UPLOADS", 2)
    uploads = [store.begin("me") for _ in range(2)]
    with pytest.raises(Overloaded):
        store.begin("you")
    for upload in uploads:
        upload.close()
    assert list(store.folder.iterdir()) == []
    monkeypatch.setattr(file_store, "MAX_FILES_PER_CALLER", 1)
    put(store, b"1")
    with pytest.raises(FileQuotaExceeded):
        store.begin("me")
    put(store, b"1", "you")


def test_a_disk_that_is_nearly_full(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_store, "_free_bytes", lambda folder: 9)
    with pytest.raises(StorageFull):
        put(store, bytes(10))
    assert list(store.folder.iterdir()) == []
    put(store, bytes(9))


class FullDisk:
    """A file on a disk that takes `num_bytes` more, `error` after that."""

    def __init__(self, num_bytes: int, error: int) -> None:
        self.num_bytes = num_bytes
        self.error = error

    def write(self, data: bytes) -> None:
        self.num_bytes -= len(data)
        if self.num_bytes < 0:
            raise OSError(self.error, "no")

    def close(self) -> None:
        self.write(b"")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up(store: FileStore, error: int) -> None:
    upload = store.begin("me")
    upload._file.close()
    upload._file = FullDisk(15, error)  # ty: ignore[invalid-assignment]
    upload.write(bytes(10))
    with pytest.raises(StorageFull):
        upload.write(bytes(10))
    upload.close()
    assert list(store.folder.iterdir()) == []
    put(store, bytes(100))


def test_a_disk_that_has_no_room_for_the_facts(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_text(self: Path, text: str) -> int:
        self.touch()
        raise OSError(errno.ENOSPC, "no")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", write_text)
        with pytest.raises(StorageFull):
            put(store, b"abc")
    assert list(store.folder.iterdir()) == []
    assert store.of("me") == []
    put(store, bytes(100))
