"""Installs a peer into a venv of its own: `python -m tests.bench.peers.install NAME ...`."""

import shutil
import sys

from tests.bench.peers.peer import Peer, venv_path
from tests.bench.peers.servers import SERVERS


def main(names: list[str]) -> None:
    for name in names or sys.exit(f"{__doc__} Names: {', '.join(SERVERS)}"):
        install(SERVERS[name])


def install(peer: Peer) -> None:
    if peer.is_installed or peer.venv is None or peer.install is None:
        return
    venv = venv_path(peer.venv)
    shutil.rmtree(venv, ignore_errors=True)
    peer.install(venv)
    (venv / "installed").touch()


if __name__ == "__main__":
    main(sys.argv[1:])
