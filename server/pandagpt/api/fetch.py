"""Media from other hosts, for operators who allow it: the only code here that opens a connection.

A URL is read once, by a strict pattern, and never again by a second parser. Its host is resolved
once, every address must be one of the public Internet, and the connection goes to an address that
was checked. Each redirect passes the same gate.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urljoin

import httpx

from pandagpt.errors import MediaFetchFailed, MediaNotAllowed, MediaTooLarge

Address = IPv4Address | IPv6Address

MAX_REDIRECTS = 3
MAX_URL_CHARS = 4096
MAX_FETCHES = 16
DNS_SECONDS = 2.0
# One that hangs keeps its thread for longer than anybody waits for it.
MAX_LOOK_UPS = 64
PORTS = {"http": 80, "https": 443}
URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9]([a-z0-9.-]{0,252}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])"
    r"(:(?P<port>[0-9]{1,5}))?(?P<path>/[^\s\\?#]*)?(\?(?P<query>[^\s\\#]*))?(#[^\s\\]*)?",
    re.ASCII | re.IGNORECASE,
)
# A host that ends in a number is an IPv4 address, which parsers read in many ways but one.
_NUMBER = re.compile("0x[0-9a-f]*|[0-9]+")
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NOT_PUBLIC = tuple(
    ip_network(block)
    for block in (
        # Tunnels, which hold an IPv4 address that may be any, and the relays of one of them.
        *("2002::/16", "2001::/32", "192.88.99.0/24"),
        # Where clouds have services for their own machines, though Python calls it global.
        *("192.0.0.0/24", "168.63.129.16/32"),
        # Documentation, by RFC 9637.
        "3fff::/20",
    )
)


@dataclass(frozen=True, slots=True)
class FetchRules:
    """`domains`: hosts, maybe with a port, that are asked; None: any of the public Internet."""

    domains: frozenset[str] | None = frozenset()
    max_bytes: int = 32 * 2**20
    timeout_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Target:
    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: str) -> "Target":
        is_plain = len(url) <= MAX_URL_CHARS and url.isascii() and url.isprintable()
        match = URL.fullmatch(url) if is_plain else None
        if match is None or not _is_plain(match["host"].lower()):
            raise MediaNotAllowed(
                "This URL is not allowed: expected http(s)://HOST/PATH in plain characters, "
                "without user or password."
            )
        scheme, query = match["scheme"].lower(), match["query"]
        port = int(match["port"] or PORTS[scheme])
        path = (match["path"] or "/") + (f"?{query}" if query else "")
        return cls(scheme, match["host"].lower().strip("[]"), port, path)

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def _is_plain(host: str) -> bool:
    """A name, or an address as everybody writes it."""
    if host.startswith("[") or _NUMBER.fullmatch(host.rpartition(".")[2]):
        return _parsed(host.strip("[]")) is not None
    return True


def _parsed(address: str) -> Address | None:
    try:
        return ip_address(address)
    except ValueError:
        return None


def is_public(address: Address) -> bool:
    """One of the public Internet, that stands for no other address."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return is_public(address.ipv4_mapped)
        if address not in _GLOBAL_UNICAST:
            return False
    if any(address in block for block in _NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast


class Fetcher:
    def __init__(
        self, rules: FetchRules, may_connect: Callable[[Address], bool] = is_public
    ) -> None:
        self._rules = rules
        self._may_connect = may_connect
        self._turns = asyncio.Semaphore(MAX_FETCHES)
        self._look_ups = ThreadPoolExecutor(MAX_LOOK_UPS, thread_name_prefix="look-up")
        # Nothing from the environment: no proxy, no `.netrc`; and no cookies between two fetches.
        self._tls = ssl.create_default_context()

    async def fetch(self, url: str) -> bytes:
        """Raises MediaNotAllowed before any connection, MediaTooLarge and MediaFetchFailed."""
        self._checked(url)
        try:
            async with asyncio.timeout(self._rules.timeout_seconds), self._turns:
                return await self._follow(url)
        except TimeoutError:
            raise MediaFetchFailed(
                f"The medium did not arrive within {self._rules.timeout_seconds:g} seconds."
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError):
            raise MediaFetchFailed("The medium's host could not be read.") from None

    async def _follow(self, url: str) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            target = self._checked(url)
            found = await self._get(target, await self._resolve(target))
            if isinstance(found, bytes):
                return found
            url = _joined(target, found)
        raise MediaFetchFailed(f"The medium's URL redirects more than {MAX_REDIRECTS} times.")

    def _checked(self, url: str) -> Target:
        target = Target.of(url)
        domains = self._rules.domains
        if domains is not None and target.authority not in domains:
            raise MediaNotAllowed(
                "This server does not fetch media from this host. "
                "Send the bytes as a data URL: data:;base64,..."
            )
        if domains is None and target.port not in PORTS.values():
            raise MediaNotAllowed(f"Port {target.port} is not allowed in media URLs.")
        return target

    async def _resolve(self, target: Target) -> Address:
        """The first address, if each of them may be connected to."""
        look_up = partial(socket.getaddrinfo, target.host, target.port, type=socket.SOCK_STREAM)
        try:
            async with asyncio.timeout(DNS_SECONDS):
                found = await asyncio.get_running_loop().run_in_executor(self._look_ups, look_up)
        except (OSError, TimeoutError, UnicodeError):
            raise MediaFetchFailed("The medium's host was not found.") from None
        addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        if not addresses or not all(map(self._may_connect, addresses)):
            raise MediaNotAllowed("The medium's host is not on the public Internet.")
        return addresses[0]

    async def _get(self, target: Target, address: Address) -> bytes | str:
        """The body, or where it has moved to."""
        host = f"[{address}]" if address.version == 6 else str(address)
        request = httpx.Request(
            "GET",
            httpx.URL(f"{target.scheme}://{host}:{target.port}").copy_with(
                raw_path=target.path.encode("ascii")
            ),
            headers={"host": target.authority, "accept-encoding": "identity"},
            # The certificate must be the host's, whatever its address.
            extensions={"sni_hostname": target.host},
        )
        async with httpx.AsyncClient(verify=self._tls, trust_env=False, timeout=None) as client:
            response = await client.send(request, stream=True)
            try:
                return await self._read(response)
            finally:
                await response.aclose()

    async def _read(self, response: httpx.Response) -> bytes | str:
        if response.has_redirect_location:
            return response.headers["location"]
        if response.status_code != 200:
            raise MediaFetchFailed(f"The medium's host answered {response.status_code}.")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise MediaFetchFailed("The medium's host sent it compressed, which was not asked for.")
        data = bytearray()
        async for chunk in response.aiter_raw():
            data += chunk
            if len(data) > self._rules.max_bytes:
                limit = self._rules.max_bytes
                raise MediaTooLarge(f"The medium has more than {limit} bytes, which is the limit.")
        return bytes(data)


def _joined(target: Target, location: str) -> str:
    try:
        return urljoin(f"{target.scheme}://{target.authority}{target.path}", location)
    except ValueError:
        raise MediaFetchFailed("The medium's host redirects to what is no URL.") from None
