"""The gate to other hosts: what is refused is refused before any connection."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any

import pytest

from pandagpt.api.fetch import MAX_FETCHES, Fetcher, FetchRules, Target, is_public
from pandagpt.errors import MediaFetchFailed, MediaNotAllowed, MediaTooLarge

BODY = bytes(range(256)) * 100
OPEN = FetchRules(domains=None, max_bytes=30_000, timeout_seconds=2.0)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"

INSIDE = [
    *("127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
    *("100.64.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "198.18.0.1", "192.0.0.192"),
    *("192.0.2.1", "203.0.113.9", "240.0.0.1", "::1", "::", "::ffff:127.0.0.1", "::127.0.0.1"),
    *("::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "2001:0:a00:1::", "fd00::1"),
    *("fe80::1", "fec0::1", "100::1", "2001:db8::1", "ff0e::1"),
]


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_inside(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "::ffff:8.8.8.8", "2606:4700::1111", "1.1.1.1"])
def test_addresses_outside(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://user@a.com/",
            "http://user:pw@a.com/",
            "http://a.com\\@b.com/",
            "http://a.com%2f/",
        ),
        *("http://a.com /", "http://a.com/a b", "http://a.com/\t", "http://a.com/\r\nHost: b"),
        *("http://ａ.com/", "http://a.com/ü", "http://a。com", "http://-a.com/", "http://a.com./"),
        *("http:///path", "http://", "http:a.com", "http:/a.com", "//a.com", "ftp://a.com/"),
        *("http://a.com:/", "http://a.com:99x/", "http://a.com:-1/", "http://[::1", "http://::1/"),
        *("http://[fe80::1%25eth0]/", "gopher://a.com", "http://a_b.com/", "http://a.com:123456/"),
        "http://a.com/" + "a" * 5000,
    ],
)
def test_urls_that_are_not_plain(url: str) -> None:
    with pytest.raises(MediaNotAllowed):
        Target.of(url)


def test_urls_that_are_plain() -> None:
    assert Target.of("HTTP://A.com") == Target("http", "a.com", 80, "/")
    target = Target.of("https://a.com:444/b/c%20d.png?e=f&g=%2F?#h")
    assert target == Target("https", "a.com", 444, "/b/c%20d.png?e=f&g=%2F?")
    assert target.authority == "a.com:444"
    assert Target.of("http://[2606:4700::1]/").authority == "[2606:4700::1]"


@dataclass
class Host:
    """A server that says what a test tells it to, and remembers who came."""

    port: int = 0
    answer: Callable[[asyncio.StreamWriter, str], Coroutine[object, object, None]] | None = None
    requests: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/medium.png?a=b"

    def rules(self, **changes: object) -> FetchRules:
        return replace(OPEN, domains=frozenset({f"localhost:{self.port}"}), **changes)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests.append(head)
        assert self.answer
        try:
            await self.answer(writer, head)
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host = Host()
    server = await asyncio.start_server(host.serve, "localhost", 0)
    host.port = server.sockets[0].getsockname()[1]
    async with server:
        yield host


def saying(*pieces: bytes, pause_seconds: float = 0.0):  # noqa: ANN201
    async def answer(writer: asyncio.StreamWriter, _: str) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_seconds)

    return answer


async def fetch(host: Host, **changes: object) -> bytes:
    return await Fetcher(host.rules(**changes), lambda _: True).fetch(host.url)


async def test_a_medium_is_fetched(host: Host) -> None:
    host.answer = saying(OK % len(BODY), BODY)
    assert await fetch(host) == BODY
    (head,) = host.requests
    assert head.startswith("GET /medium.png?a=b HTTP/1.1\r\n")
    assert f"host: localhost:{host.port}" in head.lower()
    for secret in ("cookie", "authorization", "referer"):
        assert secret not in head.lower()


async def test_nothing_inside_is_contacted(host: Host) -> None:
    """An allowed name that leads to this machine, and this machine in every spelling."""
    host.answer = saying(OK % 0)
    with pytest.raises(MediaNotAllowed, match="public Internet"):
        await Fetcher(host.rules()).fetch(host.url)
    spelled = ("127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "127.1", "[::1]")
    for spelling in (*spelled, "[::ffff:127.0.0.1]", "localhost"):
        for rules in (OPEN, host.rules()):
            with pytest.raises((MediaNotAllowed, MediaFetchFailed)):
                await Fetcher(rules).fetch(f"http://{spelling}:{host.port}/")
            with pytest.raises((MediaNotAllowed, MediaFetchFailed)):
                await Fetcher(rules).fetch(f"http://{spelling}/")
    assert host.requests == []


async def test_by_default_nobody_is_asked(host: Host) -> None:
    with pytest.raises(MediaNotAllowed, match="data URL"):
        await Fetcher(FetchRules(), lambda _: True).fetch(host.url)
    assert host.requests == []


async def test_redirects_pass_the_same_gate(host: Host) -> None:
    for location in (
        "http://127.0.0.1:1/",
        "http://other.host/",
        f"http://localhost:{host.port + 1}/",
        "file:///etc/passwd",
        "//169.254.169.254/latest",
        "http://user@localhost/",
    ):
        host.answer = saying(
            f"HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode()
        )
        with pytest.raises(MediaNotAllowed):
            await fetch(host)


async def test_redirects_are_followed_three_times(host: Host) -> None:
    def after(number: int) -> Callable[..., Coroutine[object, object, None]]:
        async def answer(writer: asyncio.StreamWriter, _: str) -> None:
            if len(host.requests) > number:
                writer.write(OK % 2 + b"ok")
            else:
                writer.write(b"HTTP/1.1 307 Go\r\nlocation: /next\r\ncontent-length: 0\r\n\r\n")

        return answer

    host.answer = after(3)
    assert await fetch(host) == b"ok"
    assert "GET /next" in host.requests[-1]
    host.requests.clear()
    host.answer = after(4)
    with pytest.raises(MediaFetchFailed, match="redirects"):
        await fetch(host)


async def test_what_is_too_large_is_not_read_on(host: Host) -> None:
    sent = 0

    async def endless(writer: asyncio.StreamWriter, _: str) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(BODY)
            await writer.drain()
            sent += len(BODY)

    host.answer = endless
    with pytest.raises(MediaTooLarge):
        await fetch(host)
    assert sent < 20_000_000


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n", b"short"),
        (b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n",),
        (b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",),
        (b"HTTP/1.1 204 None\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nab",),
        (b"nonsense\r\n\r\n",),
        (b"",),
    ],
)
async def test_answers_that_are_no_medium(host: Host, pieces: tuple[bytes, ...]) -> None:
    host.answer = saying(*pieces)
    with pytest.raises(MediaFetchFailed):
        await fetch(host)


async def test_the_whole_fetch_has_one_deadline(host: Host) -> None:
    """A host that drips never lets a single read time out."""
    host.answer = saying(OK % 100, *[b"x"] * 100, pause_seconds=0.05)
    before = time.perf_counter()
    with pytest.raises(MediaFetchFailed, match=r"within 0\.3 seconds"):
        await fetch(host, timeout_seconds=0.3)
    assert time.perf_counter() - before < 1


async def test_a_host_that_does_not_exist() -> None:
    with pytest.raises(MediaFetchFailed):
        await Fetcher(OPEN, lambda _: True).fetch("http://no-such-host.invalid/")


async def test_names_that_hang_keep_nobody_waiting(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as may be fetched at once; their threads stay busy after their time is over."""
    answered, look_up = threading.Event(), socket.getaddrinfo

    def look_up_at_last(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "hangs.example":
            answered.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return look_up(name, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_at_last)
    monkeypatch.setattr("pandagpt.api.fetch.DNS_SECONDS", 0.2)
    host.answer = saying(OK % len(BODY), BODY)
    domains = frozenset({"hangs.example", f"localhost:{host.port}"})
    fetcher = Fetcher(replace(OPEN, domains=domains), lambda _: True)
    try:
        hanging = [fetcher.fetch("http://hangs.example/") for _ in range(MAX_FETCHES)]
        errors = await asyncio.gather(*hanging, return_exceptions=True)
        assert {type(error) for error in errors} == {MediaFetchFailed}
        assert await fetcher.fetch(host.url) == BODY
    finally:
        answered.set()


async def test_the_environment_has_no_say(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    host.answer = saying(OK % len(BODY), BODY)
    assert await fetch(host) == BODY
