"""This repository's server."""

from tests.bench.peers.peer import ONE_THREAD, Launch, Peer
from tests.bench.process import pandagpt_command


def command(launch: Launch) -> list[str]:
    options = ["--threads", "1", "--device", launch.device]
    options += ["--max-num-seqs", str(launch.max_streams), "--max-model-len", str(launch.max_len)]
    return pandagpt_command(launch.model, *options)(launch.port)


PEER = Peer("pandagpt", command, "/ready", ONE_THREAD)
