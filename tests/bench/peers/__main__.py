"""Our server and its peers, the same weights and the same load, as Markdown tables.

    python -m tests.bench.peers --size S --servers pandagpt,llama.cpp-f16 --concurrency 1,8,32

Each server has one compute thread. All are started once and wait while another is measured;
rounds are interleaved (A B C, A B C), and ratios are taken within a round, so that a machine
that slows down slows both sides. Peers are installed by `python -m tests.bench.peers.install`.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.load import chat, conversation, run_stream, run_together
from tests.bench.peers.peer import BENCH, Launch, Peer
from tests.bench.peers.report import Measured, tables
from tests.bench.peers.servers import SERVERS
from tests.bench.peers.weights import MAX_LEN, SIZES, Folder, make
from tests.bench.process import Server, answers, machine, others, running

PROMPT_TOKENS = 64
TURN_TOKENS = 512
# Some servers' threads spin on for a while after their last request.
SETTLE_SECONDS = 5


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    peers = [SERVERS[name] for name in options.servers]
    if absent := [peer.name for peer in peers if not peer.is_installed]:
        raise SystemExit(f"python -m tests.bench.peers.install {' '.join(absent)}")
    busy = others()
    folder = make(options.size, BENCH)
    results = [Measured(peer.name) for peer in peers]
    with ExitStack() as stack:
        servers = [start(peer, folder, options, stack) for peer in peers]
        for result, server in zip(results, servers, strict=True):
            result.start_seconds = server.start_seconds
        for number in range(options.rounds):
            for peer, server, result in zip(peers, servers, results, strict=True):
                time.sleep(SETTLE_SECONDS)
                ask = partial(chat, **peer.extras(folder))
                measure(ask, server, result, folder, options, number)
                asyncio.run(two_turns(peer, server, result, folder, number))
                server.sample_memory()
                result.peak_bytes = server.peak_bytes
    load = f"size {options.size}, {options.tokens} tokens, {options.rounds} rounds"
    print(f"{machine()}; {load}; {busy}\n")
    print(tables(results, options.concurrency))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="S")
    parser.add_argument("--servers", type=lambda text: text.split(","), default=[*SERVERS])
    parser.add_argument("--concurrency", type=_numbers, default=(1, 8, 32))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=96, help="of each answer")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--logs", type=Path, default=BENCH / "logs")
    return parser.parse_args(arguments)


def start(peer: Peer, folder: Folder, options: argparse.Namespace, stack: ExitStack) -> Server:
    """Ready is who has answered a request: some servers load or compile at their first."""
    if peer.prepare:
        peer.prepare(folder)
    options.logs.mkdir(parents=True, exist_ok=True)
    log = stack.enter_context((options.logs / f"{peer.name}.log").open("wb"))
    body = chat("Hello", max_tokens=2, **peer.extras(folder))

    def command(port: int) -> list[str]:
        return peer.command(Launch(folder, port, max(options.concurrency), MAX_LEN, options.device))

    def is_ready(url: str) -> bool:
        if not answers(peer.ready_path)(url):
            return False
        asyncio.run(run_stream(url, body))
        return True

    return stack.enter_context(running(command, is_ready, peer.environment, log))


def measure(
    ask: Any,
    server: Server,
    result: Measured,
    folder: Folder,
    options: argparse.Namespace,
    number: int,
) -> None:
    """Prompts are new in each round, the same for all servers: no cache knows them."""
    for count in options.concurrency:
        seeds = [hash((number, count, i)) for i in range(count)]
        bodies = [
            ask(folder.prompt(PROMPT_TOKENS, seed), max_tokens=options.tokens) for seed in seeds
        ]
        result.add(count, asyncio.run(run_together(server.url, bodies)))


async def two_turns(
    peer: Peer, server: Server, result: Measured, folder: Folder, number: int
) -> None:
    """The second question of a conversation, against the first: what is kept need not be read."""
    extras = {"max_tokens": 8, **peer.extras(folder)}
    first = {"role": "user", "content": folder.prompt(TURN_TOKENS, hash((number, 0, 1)))}
    one = await run_stream(server.url, conversation([first], **extras))
    said = {"role": "assistant", "content": one.text}
    second = {"role": "user", "content": folder.prompt(16, hash((number, 0, 2)))}
    two = await run_stream(server.url, conversation([first, said, second], **extras))
    result.turns.append((one.first_token_seconds, two.first_token_seconds))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


if __name__ == "__main__":
    main()
