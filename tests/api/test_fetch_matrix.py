"""Every trick of `fetch_tricks`, and every trick of a host that may be asked: all are refused,
soon, and nothing inside is contacted.

Whatever address this process connects to, a canary answers with a good picture and counts.
"""

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from itertools import count, cycle
from typing import Any

import httpx
import pytest

from pandagpt.api.errors import media_codes
from pandagpt.api.fetch import Fetcher, FetchRules, Target
from pandagpt.api.serving import EmbeddingModel
from pandagpt.errors import MediaFetchFailed, MediaNotAllowed
from pandagpt.settings import Settings
from tests.api.conftest import Connect
from tests.api.fetch_tricks import GOOD, hosts, urls
from tests.api.network import OUTSIDE, PICTURE, Answer, Network, ok, simulated

MAX_SECONDS = 2.0
# Hosts that never end are left this soon.
BRIEF = {"media_fetch_timeout": 0.2}
ANYBODY = Settings(allow_media_urls=True, media_fetch_timeout=5, max_media_mb=1)
# Never asked for its tokenizer, because no text is embedded here.
EMBEDDER = EmbeddingModel("embedder", 8, None)  # ty: ignore[invalid-argument-type]
TRICKS = urls()


@pytest.fixture
async def network(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Network]:
    async with simulated(monkeypatch) as network:
        yield network


# -- requests


def chat(part: dict[str, Any]) -> tuple[str, Any]:
    return "/v1/chat/completions", {"messages": [{"role": "user", "content": [part]}]}


def named(kind: str) -> Callable[[str], tuple[str, Any]]:
    return lambda url: chat({"type": kind, kind: {"url": url}})


IMAGE = named("image_url")
PLACES: list[Callable[[str], tuple[str, Any]]] = [
    *(named(f"{kind}_url") for kind in ("image", "video", "audio", "depth", "thermal", "imu")),
    lambda url: chat({"type": "image_url", "image_url": url}),
    lambda url: chat({"type": "input_audio", "input_audio": {"data": url, "format": "wav"}}),
    lambda url: chat({"type": "input_imu", "input_imu": {"data": url, "format": "csv"}}),
    lambda url: chat({"type": "file", "file": {"file_data": url, "filename": "a.png"}}),
    lambda url: (
        "/v1/responses",
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]},
    ),
    lambda url: (
        "/v1/embeddings",
        {"input": [{"content": [{"type": "image_url", "image_url": {"url": url}}]}]},
    ),
]


async def post(client: httpx.AsyncClient, request: tuple[str, Any]) -> httpx.Response:
    path, body = request
    content = json.dumps(body, ensure_ascii=True)
    return await client.post(path, content=content, headers={"content-type": "application/json"})


def complaint(response: httpx.Response, seconds: float) -> str:
    """What was wrong with a refusal, if anything."""
    if not 400 <= response.status_code < 500:
        return f"answered {response.status_code}: {response.text[:200]}"
    if response.json()["error"]["code"] not in media_codes():
        return response.text
    return f"took {seconds:.1f} s" if seconds > MAX_SECONDS else ""


async def refused(client: httpx.AsyncClient, request: tuple[str, Any]) -> str:
    """What took too long is asked again: a machine may be busy once."""
    for _ in range(2):
        started_at = time.perf_counter()
        response = await post(client, request)
        found = complaint(response, time.perf_counter() - started_at)
        if not found.startswith("took"):
            break
    return found


# -- tricks of URLs


def test_there_are_enough_tricks() -> None:
    assert len({url for group in TRICKS.values() for url in group}) >= 219
    assert len(HOST_TRICKS) >= 26


@pytest.mark.parametrize("group", TRICKS)
async def test_no_url_leads_inside(connect: Connect, network: Network, group: str) -> None:
    """In every place that takes a URL, one after another."""
    async with connect(ANYBODY, EMBEDDER) as client:
        tricks = zip(TRICKS[group], cycle(PLACES), strict=False)
        found = [(url, await refused(client, place(url))) for url, place in tricks]
    assert [each for each in found if each[1]] == []
    assert network.contacts == []
    assert network.asked == []


async def test_every_place_has_the_gate(connect: Connect, network: Network) -> None:
    async with connect(ANYBODY, EMBEDDER) as client:
        for url in ("http://127.0.0.1/", "http://metadata.google.internal/", "http://[::1]/"):
            for place in PLACES:
                assert await refused(client, place(url)) == ""
    assert network.contacts == []


def authority(url: str) -> str:
    with suppress(MediaNotAllowed):
        return Target.of(url).authority
    return ""


async def test_an_operator_names_no_host_inside(network: Network) -> None:
    """Allowed by its name, refused by its address."""
    tried = [f"http://{host}{port}/" for host in hosts() for port in ("", ":8000")]
    fetcher = Fetcher(FetchRules(frozenset(map(authority, tried)), timeout_seconds=1))
    reached = []
    for url in tried:
        with suppress(MediaNotAllowed, MediaFetchFailed):
            await fetcher.fetch(url)
            reached.append(url)
    assert reached == network.contacts == []


async def test_the_canary_sees_who_comes(network: Network) -> None:
    """Without the gate most of the hosts are reached: it is the gate that keeps them out."""
    network.answer = saying(ok(PICTURE))
    fetcher = Fetcher(FetchRules(domains=None), may_connect=lambda _: True)
    for host in hosts():
        with suppress(MediaNotAllowed, MediaFetchFailed):
            assert await fetcher.fetch(f"http://{host}/") == PICTURE
    assert len(network.contacts) > len(hosts()) / 2


@pytest.mark.parametrize(
    "url", ["http://{}#@127.0.0.1/", "http://{}?@127.0.0.1/", "http://{}/@::1"]
)
async def test_a_url_has_one_host(connect: Connect, network: Network, url: str) -> None:
    network.answer = saying(ok(PICTURE))
    async with connect(ANYBODY, EMBEDDER) as client:
        assert (await post(client, IMAGE(url.format(GOOD)))).status_code == 200
    assert (network.asked, network.contacts) == ([OUTSIDE], [])


async def test_a_name_is_resolved_once(connect: Connect, network: Network) -> None:
    """A name that leads elsewhere the next time is asked where it led when it was checked."""
    network.names["rebinding.example"] = cycle([[OUTSIDE], ["127.0.0.1"]])
    network.answer = saying(ok(PICTURE))
    async with connect(ANYBODY, EMBEDDER) as client:
        statuses = [
            (await post(client, IMAGE("http://rebinding.example/"))).status_code for _ in range(4)
        ]
    assert statuses == [200, 400, 200, 400]
    assert (network.asked, network.contacts) == ([OUTSIDE] * 2, [])


# -- tricks of a host that may be asked


def moved(status: int, *locations: str) -> bytes:
    lines = [*(f"location: {location}" for location in locations), "content-length: 0"]
    return "\r\n".join([f"HTTP/1.1 {status} Go", *lines, "", ""]).encode("latin-1")


def saying(*pieces: bytes, again: bytes = b"", pause_seconds: float = 0.0) -> Answer:
    """`again` without an end."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
        while again:
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(pause_seconds)

    return answer


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


def chain(prefix: str) -> Answer:
    """Each step leads to a new one."""

    steps = count()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(moved(302, f"{prefix}/{next(steps)}"))

    return answer


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
BOMB = gzip.compress(bytes(20_000_000))
HEAD = b"HTTP/1.1 200 OK\r\n"
LOCATIONS = [
    *("http://127.0.0.1/", "http://169.254.169.254/latest/meta-data/", "//127.0.0.1/", "//[::1]/"),
    *(
        "https://127.0.0.1/",
        "http://2130706433/",
        "http://metadata.google.internal/",
        "//localhost",
    ),
    *("http://[::ffff:127.0.0.1]/", "http://first-outside.attacker.example/", "/\\127.0.0.1/"),
    *(
        f"http://{GOOD}@127.0.0.1/",
        f"http://127.0.0.1\\@{GOOD}/",
        "\\\\127.0.0.1\\a",
        f"//{GOOD}:22/",
    ),
    *("file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1:6379/_x", "javascript:1"),
    *("data:image/png;base64,AAAA", "sample://red_car.png", "http://", "http://[", "http://[::1"),
    *("http://１２７.0.0.1/".encode().decode("latin-1"), "http://\x7f/", "/\xff", "/" + "a" * 5000),
]
HOST_TRICKS: dict[str, Answer] = {
    **{f"{status} inside": saying(moved(status, "http://10.0.0.1/")) for status in range(300, 309)},
    **{f"to {location[:60]!r}": saying(moved(302, location)) for location in LOCATIONS},
    "two locations": saying(moved(302, "/a", "http://127.0.0.1/")),
    "no location": saying(moved(302)),
    "an empty location": saying(moved(302, "")),
    "to itself": saying(moved(301, "/medium.png")),
    "ever on": chain(""),
    "ever on, by whole URLs": chain(f"http://{GOOD}"),
    "gzip": saying(ok(BOMB, "content-encoding: gzip")),
    "gzip twice": saying(ok(gzip.compress(BOMB), "content-encoding: gzip, gzip")),
    "deflate": saying(ok(zlib.compress(bytes(9_000_000)), "content-encoding: deflate")),
    "br": saying(ok(b"\x8b", "content-encoding: br")),
    "zstd": saying(ok(b"(\xb5/\xfd", "content-encoding: zstd")),
    "gzip, not said": saying(ok(BOMB)),
    "gzip by transfer": saying(HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "longer than it says": saying(HEAD + b"content-length: 50\r\n\r\n" + PICTURE),
    "shorter than it says": saying(HEAD + b"content-length: 999999\r\n\r\n" + PICTURE),
    "says a terabyte": saying(HEAD + b"content-length: 1000000000000\r\n\r\n", again=PICTURE),
    "says less than nothing": saying(HEAD + b"content-length: -1\r\n\r\n" + PICTURE),
    "says two lengths": saying(HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab"),
    "says no number": saying(HEAD + b"content-length: 0x10\r\n\r\n" + PICTURE),
    "no end": saying(HEAD + b"\r\n", again=PICTURE),
    "chunks without an end": saying(CHUNKED, again=b"a\r\n0123456789\r\n" * 1000),
    "a chunk of 2^70": saying(CHUNKED + b"4" + b"0" * 17 + b"\r\n", again=PICTURE),
    "a chunk of no number": saying(CHUNKED + b"-5\r\nabcde\r\n0\r\n\r\n"),
    "a chunk's head without an end": saying(CHUNKED + b"5;a=", again=b"a" * 1000),
    "drips": saying(HEAD + b"content-length: 9999\r\n\r\n", again=b"a", pause_seconds=0.05),
    "drips its head": saying(HEAD, again=b"a: b\r\n", pause_seconds=0.05),
    "a head without an end": saying(HEAD, again=b"a: b\r\n" * 1000),
    "ever 100": saying(again=b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
    "ever 103": saying(again=b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 50),
    "101": saying(
        b"HTTP/1.1 101 Up\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n", again=b"a" * 99
    ),
    "says nothing": silence,
    "closes": saying(),
    "no HTTP": saying(b"220 ftp.example ready\r\n"),
    "HTTP/0.9": saying(PICTURE),
    "HTTP/2": saying(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "nothing": saying(ok(b"")),
    "204": saying(b"HTTP/1.1 204 None\r\n\r\n"),
    "206": saying(ok(PICTURE).replace(b"200", b"206", 1)),
    "401": saying(b'HTTP/1.1 401 No\r\nwww-authenticate: Basic realm="a"\r\n\r\n'),
    "407": saying(b'HTTP/1.1 407 No\r\nproxy-authenticate: Basic realm="a"\r\n\r\n'),
    "500": saying(b"HTTP/1.1 500 No\r\n\r\n" + PICTURE),
    "a page": saying(ok(b"<html><img src='http://127.0.0.1/'><meta http-equiv=refresh></html>")),
    "a drawing": saying(
        ok(b"<svg xmlns='http://www.w3.org/2000/svg'><image href='http://::1'/></svg>")
    ),
    "an entity": saying(ok(b"<!DOCTYPE a [<!ENTITY b SYSTEM 'http://127.0.0.1/'>]><a>&b;</a>")),
    "a playlist": saying(ok(b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/a.ts\n#EXT-X-ENDLIST\n")),
    "a list of parts": saying(ok(b"ffconcat version 1.0\nfile http://127.0.0.1/a.mp4\n")),
    "a session": saying(ok(b"v=0\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 9 RTP/AVP 26\r\n")),
}


@pytest.mark.parametrize(
    "changes", [{}, {"allow_media_urls": False, "allowed_media_domains": GOOD}]
)
async def test_no_host_leads_inside(
    connect: Connect, network: Network, changes: dict[str, Any]
) -> None:
    found = []
    settings = ANYBODY.model_copy(update=BRIEF | changes)
    async with connect(settings, EMBEDDER) as client:
        for (name, network.answer), place in zip(HOST_TRICKS.items(), cycle(PLACES), strict=False):
            found.append((name, await refused(client, place(f"http://{GOOD}/medium.png"))))
    assert [each for each in found if each[1]] == []
    assert network.contacts == []
    assert len(network.asked) < 6 * len(HOST_TRICKS)


async def test_a_name_that_moves_inside_between_two_steps(
    connect: Connect, network: Network
) -> None:
    network.names["moving.example"] = iter([[OUTSIDE], ["127.0.0.1"]])
    network.answer = saying(moved(302, "/again"))
    async with connect(ANYBODY, EMBEDDER) as client:
        assert await refused(client, IMAGE("http://moving.example/")) == ""
    assert (network.asked, network.contacts) == ([OUTSIDE], [])


async def test_hosts_that_hang_keep_no_text_waiting(connect: Connect, network: Network) -> None:
    network.answer = silence
    text = "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}
    settings = ANYBODY.model_copy(update={"media_fetch_timeout": 30})
    async with connect(settings) as client:
        image = IMAGE(f"http://{GOOD}/")
        hanging = [asyncio.create_task(post(client, image)) for _ in range(20)]
        while len(network.asked) < 16:
            await asyncio.sleep(0.01)
        assert (await post(client, text)).status_code == 200
        assert not any(task.done() for task in hanging)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
