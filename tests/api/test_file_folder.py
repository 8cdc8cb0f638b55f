"""Folders of uploads: one server each; what a killed server has left goes."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pandagpt.api.file_folder import PREFIX, open_folder
from pandagpt.errors import OperatorError


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_named_folder_stays_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    folder = open_folder(path)
    assert path.stat().st_mode & 0o777 == 0o700
    with pytest.raises(OperatorError, match="another server"):
        open_folder(path)
    (path / "x").touch()
    folder.close()
    again = open_folder(path)
    assert (path / "x").exists()
    again.close()


def test_a_temporary_folder_ends_with_its_server() -> None:
    one, two = open_folder(None), open_folder(None)
    assert one.path != two.path
    assert one.path.stat().st_mode & 0o777 == 0o700
    one.close()
    assert not one.path.exists()
    assert two.path.exists()
    two.close()


def test_what_a_killed_server_has_left_goes(tmp_path: Path) -> None:
    program = (
        "import os, tempfile\n"
        f"tempfile.tempdir = {str(tmp_path)!r}\n"
        "from pandagpt.api.file_folder import open_folder\n"
        "folder = open_folder(None)\n"
        "(folder.path / 'secret').touch()\n"
        "os._exit(1)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], env=environment, timeout=60)
    (left,) = tmp_path.glob(f"{PREFIX}*")
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    folder = open_folder(None)
    assert not left.exists()
    assert elsewhere.exists()
    folder.close()


def test_a_folder_taken_for_left_over_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a server that starts between the folder's making and its locking."""
    make = tempfile.mkdtemp
    made: list[str] = []

    def made_and_taken(prefix: str) -> str:
        made.append(make(prefix=prefix))
        if len(made) == 1:
            Path(made[0]).rmdir()
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", made_and_taken)
    folder = open_folder(None)
    assert str(folder.path) == made[1]
    folder.close()


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OperatorError, match="--files-dir"):
            open_folder(path)
