"""The comparison runs whole at toy size, with the one peer that needs no installation."""

from pathlib import Path

import pytest

from tests.bench import growth
from tests.bench.peers import __main__ as peers
from tests.bench.peers.peer import Launch, Peer
from tests.bench.peers.servers import SERVERS
from tests.bench.peers.weights import Folder


@pytest.mark.slow
def test_compares_our_server_with_generate(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--size", "toy", "--concurrency", "1,3", "--rounds", "2", "--tokens", "12"]
    peers.main(["--servers", "pandagpt,generate", *sizes])
    table = capsys.readouterr().out
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line[:1] == "|"]
    loads = [row for row in rows if row[0] in ("pandagpt", "generate") and row[-1].endswith("%")]
    assert [row[0] for row in loads] == ["pandagpt", "generate"] * 2
    assert all(row[-1] == "100%" for row in loads), "both compute the same greedy texts"


@pytest.mark.slow
def test_growth_has_every_series(capsys: pytest.CaptureFixture[str]) -> None:
    growth.main(["--size", "toy", "--rounds", "1", "--max-streams", "2"])
    table = capsys.readouterr().out
    for part in ("streams at once | 2", "tokens of context | 1984", "pictures in a request | 16"):
        assert part in table


@pytest.mark.parametrize("peer", SERVERS.values(), ids=list(SERVERS))
def test_every_server_is_told_the_same(peer: Peer) -> None:
    command = peer.command(Launch(Folder(Path("model")), 8123, 32, 2048, "cpu"))
    assert "8123" in command
    assert any(part.startswith("model") for part in command)
    assert peer.environment["OMP_NUM_THREADS"] == "1"


def test_absent_peer_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tests.bench.peers.peer.BENCH", tmp_path)
    with pytest.raises(SystemExit, match=r"tests\.bench\.peers\.install vllm"):
        peers.main(["--servers", "pandagpt,vllm"])


def test_script_for_another_venv_imports_nothing_of_ours() -> None:
    source = Path(peers.__file__).with_name("gguf_file.py").read_text()
    assert "from tests" not in source
    assert "pandagpt" not in source
