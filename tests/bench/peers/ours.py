"""This repository's server, with the weights it takes by itself and with others."""

from collections.abc import Sequence
from functools import partial

from tests.bench.peers.peer import ONE_THREAD, Launch, Peer
from tests.bench.process import pandagpt_command


def command(launch: Launch, quantization: str = "auto", more: Sequence[str] = ()) -> list[str]:
    options = ["--threads", "1", "--device", launch.device, "--quantization", quantization]
    options += ["--max-num-seqs", str(launch.max_streams), "--max-model-len", str(launch.max_len)]
    return pandagpt_command(launch.model, *options, *more)(launch.port)


PEER = Peer("pandagpt", command, "/ready", ONE_THREAD)
FP16 = Peer("pandagpt-fp16", partial(command, quantization="fp16"), "/ready", ONE_THREAD)
INT8 = Peer("pandagpt-int8", partial(command, quantization="int8"), "/ready", ONE_THREAD)
# All prompts of a burst before the next token of any answer, as vLLM takes them: first tokens come
# later and together, those after them faster.
_LONG_STEPS = ("--max-num-batched-tokens", "4096", "--max-step-s", "60")
LONG_STEPS = Peer("pandagpt-long-steps", partial(command, more=_LONG_STEPS), "/ready", ONE_THREAD)
