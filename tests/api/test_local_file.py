"""Files of the server's disk: those of one folder, wherever links and dots lead."""

import os
from pathlib import Path

import pytest

from pandagpt.api.local_file import read_local
from pandagpt.errors import InvalidMedia, MediaNotAllowed, MediaTooLarge


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "media"
    (folder / "in side").mkdir(parents=True)
    (folder / "in side" / "a.png").write_bytes(b"picture")
    (folder / "inward").symlink_to(folder / "in side" / "a.png")
    (folder / "outward").symlink_to(tmp_path / "secret")
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "media2").mkdir()
    (tmp_path / "media2" / "x").write_bytes(b"secret")
    return folder


@pytest.mark.parametrize("path", ["in%20side/a.png", "inward", "in side/../inward", "./inward"])
def test_files_inside(folder: Path, path: str) -> None:
    for host in ("", "localhost"):
        assert read_local(f"file://{host}{folder}/{path}", folder, 10) == b"picture"


@pytest.mark.parametrize(
    "path",
    [
        *("../secret", "outward", "%2e%2e/secret", "../media2/x", "in side/../../secret"),
        *("", "nothing/../../secret", "%00", "loop"),
    ],
)
def test_files_outside(folder: Path, path: str) -> None:
    with pytest.raises((MediaNotAllowed, InvalidMedia)) as caught:
        read_local(f"file://{folder}/{path}", folder, 10)
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "file://host/etc/passwd", "file:etc", "file://[/x", "file://"]
)
def test_other_urls(folder: Path, url: str) -> None:
    with pytest.raises(MediaNotAllowed):
        read_local(url, folder, 10)


def test_what_is_no_file_or_too_large(folder: Path) -> None:
    for name in ("pipe", "in side", "missing"):
        with pytest.raises(InvalidMedia):
            read_local(f"file://{folder}/{name}", folder, 10)
    with pytest.raises(MediaTooLarge):
        read_local(f"file://{folder}/inward", folder, 3)
