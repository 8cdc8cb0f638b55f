"""A disk that is full in the middle of an upload, as the kernel tells a live server: no file of it
may become larger than so many bytes."""

import resource
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.bench.process import Server
from tests.chaos.target import server

LARGE, ROOM_BYTES = bytes(1_000_000), 200_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def live_server(folder: Path) -> Iterator[Server]:
    with server("", "--files-dir", str(folder)) as started:
        yield started


def fill_disk(target: Server, room_bytes: int) -> None:
    limits = (room_bytes, resource.RLIM_INFINITY)
    resource.prlimit(target.pid, resource.RLIMIT_FSIZE, limits)


def test_a_disk_that_fills_up(live_server: Server, folder: Path) -> None:
    with httpx.Client(base_url=live_server.url, timeout=60) as client:
        small = client.post("/v1/files", files={"file": b"small"}).json()["id"]
        names = set(folder.iterdir())
        fill_disk(live_server, ROOM_BYTES)
        for _ in range(3):
            refusal = client.post("/v1/files", files={"file": LARGE})
            assert refusal.status_code == 507
            assert refusal.json()["error"]["code"] == "storage_full"
            assert set(folder.iterdir()) == names
        question = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
        assert client.post("/v1/chat/completions", json=question).status_code == 200
        assert client.get(f"/v1/files/{small}/content").content == b"small"
        assert client.post("/v1/files", files={"file": b"fits"}).status_code == 200
        assert client.delete(f"/v1/files/{small}").status_code == 200
        fill_disk(live_server, resource.RLIM_INFINITY)
        kept = client.post("/v1/files", files={"file": LARGE}).json()["id"]
        assert client.get(f"/v1/files/{kept}/content").content == LARGE
