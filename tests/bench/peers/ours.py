"""This repository's server, with the weights it takes by itself and with int8."""

from functools import partial

from tests.bench.peers.peer import ONE_THREAD, Launch, Peer
from tests.bench.process import pandagpt_command


def command(launch: Launch, quantization: str = "auto") -> list[str]:
    options = ["--threads", "1", "--device", launch.device, "--quantization", quantization]
    options += ["--max-num-seqs", str(launch.max_streams), "--max-model-len", str(launch.max_len)]
    return pandagpt_command(launch.model, *options)(launch.port)


PEER = Peer("pandagpt", command, "/ready", ONE_THREAD)
INT8 = Peer("pandagpt-int8", partial(command, quantization="int8"), "/ready", ONE_THREAD)
