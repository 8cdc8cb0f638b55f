"""The library is compiled once, and doing without a compiler is no crash."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pandagpt.model.cpu import compiler

pytestmark = pytest.mark.skipif(compiler.library() is None, reason="needs a C++ compiler")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(compiler, "_folder", lambda: tmp_path)
    compiler.library.cache_clear()
    yield
    compiler.library.cache_clear()


def fake_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    path = tmp_path / "c++"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


def test_the_second_start_compiles_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert compiler.library() is not None
    (built,) = tmp_path.glob("*.so")
    before = built.stat().st_mtime_ns
    compiler.library.cache_clear()
    assert compiler.library() is not None
    assert built.stat().st_mtime_ns == before


def test_a_compiler_without_openmp_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = compiler._find_compiler()
    script = f'for flag; do test $flag != -fopenmp || exit 1; done; exec {real} "$@"'
    fake_compiler(monkeypatch, tmp_path, script)
    assert compiler.library() is not None


def test_no_compiler_is_no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compiler.library() is None


def test_a_failing_compiler_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_compiler(monkeypatch, tmp_path, 'test "$1" = --version && exit; exit 1')
    assert compiler.library() is None
    assert [path.name for path in tmp_path.iterdir()] == ["c++"]


def test_a_compiler_that_makes_rubbish_is_no_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_compiler(
        monkeypatch,
        tmp_path,
        'test "$1" = --version && exit; for last; do :; done; echo rubbish > "$last"',
    )
    assert compiler.library() is None
