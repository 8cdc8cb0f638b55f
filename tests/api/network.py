"""The network as the fetcher sees it in a test: nothing leaves this process but what a test sees.

Whatever address is connected to, a canary answers with a good picture and counts; but for one,
which is the host that a test plays.
"""

import asyncio
import socket
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import pytest

from pandagpt.api.source import SAMPLES_DIR
from tests.api.fetch_tricks import GOOD, NAMES

PICTURE = (SAMPLES_DIR / "red_car.png").read_bytes()
OUTSIDE = "93.184.215.14"

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[object, object, None]]


def ok(body: bytes, *headers: str) -> bytes:
    lines = [*headers, f"content-length: {len(body)}"]
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode("latin-1") + body


@dataclass
class Network:
    """What this process asks of it: names are looked up in a table, and behind `OUTSIDE` is
    `answer`; behind every other address is the canary."""

    names: dict[str, Iterator[list[str]]]
    ports: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    contacts: list[str] = field(default_factory=list)
    answer: Answer | None = None

    def look_up(self, host: str, port: int, *_: object, **__: object) -> list[Any]:
        with suppress(socket.gaierror):
            return REAL_LOOK_UP(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        if not (addresses := next(self.names.get(host, iter([])), [])):
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, 1, 6, "", (address, port))
            for address in addresses
        ]

    async def connect(self, sock: socket.socket, address: tuple[str, int]) -> None:
        (self.asked if address[0] == OUTSIDE else self.contacts).append(address[0])
        port = self.ports["host" if address[0] == OUTSIDE else "canary"]
        loop = asyncio.get_running_loop()
        assert isinstance(loop, BaseSelectorEventLoop)
        mapped = "::ffff:" if sock.family is socket.AF_INET6 else ""
        await REAL_CONNECT(loop, sock, (f"{mapped}127.0.0.1", port))

    async def be_host(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            assert self.answer
            await self.answer(reader, writer)
            await writer.drain()
        await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


REAL_LOOK_UP = socket.getaddrinfo
REAL_CONNECT = BaseSelectorEventLoop.sock_connect


@asynccontextmanager
async def listening(serve: Answer) -> AsyncGenerator[int]:
    """A port; whoever is still served at the end is waited for."""
    serving: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.ensure_future(serve(reader, writer)))

    async with await asyncio.start_server(begin, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*serving)


@asynccontextmanager
async def simulated(patch: pytest.MonkeyPatch) -> AsyncGenerator[Network]:
    table = {name.lower(): cycle([addresses]) for name, addresses in NAMES.items()}
    network = Network(table | {GOOD: cycle([[OUTSIDE]])})

    async def be_canary(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(PICTURE))
        await closed(writer)

    async with listening(be_canary) as canary, listening(network.be_host) as host:
        network.ports = {"canary": canary, "host": host}
        patch.setattr(socket, "getaddrinfo", network.look_up)
        patch.setattr(
            BaseSelectorEventLoop,
            "sock_connect",
            lambda _, sock, where: network.connect(sock, where),
        )
        yield network
