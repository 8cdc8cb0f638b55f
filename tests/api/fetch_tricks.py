"""URLs that try to make a server fetch what is inside its own network, made from a few lists.

Every host here stands for an inside address, or is not to be read as a host at all.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

GOOD = "media.example"
"""A host that may be asked."""

# Loopback, private, link-local, clouds' services, carrier, benchmarks, documentation, multicast,
# reserved, broadcast, "this network", relays.
INSIDE_V4 = [
    *("127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.254"),
    *("192.168.0.1", "169.254.169.254", "169.254.170.2", "192.0.0.192", "168.63.129.16"),
    *("100.64.0.1", "100.100.100.200", "198.18.0.1", "198.19.255.254", "192.0.2.1"),
    *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1"),
    *("255.255.255.255", "0.0.0.0", "0.1.2.3", "192.88.99.1"),
]
INSIDE_V6 = [
    *("::1", "::", "0:0:0:0:0:0:0:1", "0000:0000:0000:0000:0000:0000:0000:0001", "fe80::1"),
    *("fe80::5efe:7f00:1", "febf::1", "fec0::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254"),
    *("ff02::1", "ff0e::1", "2001:db8::1", "3fff::1", "100::1", "2001:2::1", "2001:10::1"),
    *("2001:20::1", "2001:1::1", "5f00::1", "4000::1", "a000::1"),
]
SPELLED = ["127.0.0.1", "169.254.169.254", "10.0.0.1", "192.168.0.1"]

# What they lead to is said in NAMES.
NAMES: dict[str, list[str]] = {
    "localhost": ["127.0.0.1", "::1"],
    "localhost.localdomain": ["127.0.0.1"],
    "ip6-localhost": ["::1"],
    "LOCALHOST": ["127.0.0.1"],
    "metadata": ["169.254.169.254"],
    "metadata.google.internal": ["169.254.169.254"],
    "instance-data.ec2.internal": ["169.254.169.254"],
    "kubernetes.default.svc": ["10.96.0.1"],
    "host.docker.internal": ["172.17.0.1"],
    "127.0.0.1.nip.io": ["127.0.0.1"],
    "7f000001.nip.io": ["127.0.0.1"],
    "localtest.me": ["127.0.0.1"],
    "10-0-0-1.sslip.io": ["10.0.0.1"],
    "a.attacker.example": ["127.0.0.1"],
    "null.attacker.example": ["0.0.0.0"],
    "mapped.attacker.example": ["::ffff:127.0.0.1"],
    "nat64.attacker.example": ["64:ff9b::7f00:1"],
    "scoped.attacker.example": ["fe80::1%1"],
    "first-outside.attacker.example": ["93.184.215.14", "127.0.0.1"],
    "first-inside.attacker.example": ["10.0.0.1", "93.184.215.14"],
    "outside-by-ipv4-alone.attacker.example": ["93.184.215.14", "fd00::1"],
    "nowhere.attacker.example": [],
    "xn--fsq.attacker.example": ["192.168.0.1"],
}
CONTROLS = "\t\n\r\0\x01\x0b\x0c\x1f \x7f\x85\xa0\xad\u200b\u2028\u202e\ufeff"
SCHEMES = [
    *("ftp", "ftps", "sftp", "tftp", "ssh", "gopher", "dict", "ldap", "ldaps", "smb", "nfs"),
    *("jar:http", "netdoc", "file", "ws", "wss", "unix", "http+unix", "mailto"),
    *("javascript", "blob:http", "about", "view-source:http", "php", "phar", "expect", "s3"),
    *("gs", "azure", "hdfs", "rtsp", "rtmp", "rtp", "udp", "tcp", "concat", "crypto"),
    *("subfile", "pipe", "ffconcat", "hls", "hls+http", "httpproxy", "async:http"),
    *("cache:http", "url:http", "httpx", "h2", "dns", "telnet", "imap", "redis"),
    *("data+http"),
]


def spellings_v4(text: str) -> Iterator[str]:
    """One address as `inet_aton` and careless parsers read it."""
    address = IPv4Address(text)
    number, parts = int(address), list(address.packed)
    a, b, c, d = parts
    yield from (str(number), hex(number), f"0x{number:08X}", f"0{number:o}", f"0x0000{number:x}")
    yield from (f"{a}.{number & 0xFFFFFF}", f"{a}.{b}.{c << 8 | d}", f"0x{a:x}.{b}.{c}.{d}")
    yield ".".join(f"0x{part:02x}" for part in parts)
    yield ".".join(f"0{part:03o}" for part in parts)
    yield from (f"{a}.0{b:o}.0x{c:x}.{d}", f"0{a:o}.{number & 0xFFFFFF}")
    # More than an address holds, which some parsers cut off.
    yield from (str(number + 2**32), f"{a + 256}.{b}.{c}.{d}", f"{a:03}.{b:03}.{c:03}.{d:03}")


def embeddings_v6(text: str) -> Iterator[str]:
    """One IPv4 address inside IPv6 ones."""
    number = int(IPv4Address(text))
    high, low = number >> 16, number & 0xFFFF
    yield from (f"::ffff:{text}", f"::ffff:{high:x}:{low:x}", f"0:0:0:0:0:ffff:{high:x}:{low:x}")
    yield from (f"::{text}", f"::{high:x}:{low:x}", f"::ffff:0:{text}")
    yield from (f"64:ff9b::{text}", f"64:ff9b:1::{high:x}:{low:x}")
    yield from (f"2002:{high:x}:{low:x}::", f"2002:{high:x}:{low:x}::1")
    yield str(IPv6Address((0x20010000 << 96) | (number << 64) | 1))
    yield str(IPv6Address((0x20010000 << 96) | (0x01020304 << 64) | (number ^ 0xFFFFFFFF)))


def hosts() -> list[str]:
    """Each a host by the letter of a URL; all lead inside, or nowhere."""
    v4 = [*INSIDE_V4, *(spelling for text in SPELLED for spelling in spellings_v4(text))]
    v6 = [*INSIDE_V6, *(address for text in SPELLED[:3] for address in embeddings_v6(text))]
    return [*v4, *(f"[{address}]" for address in v6), *NAMES]


def urls() -> dict[str, list[str]]:
    """By what is tried."""
    plain = [f"http://{host}/" for host in hosts()]
    return {
        "hosts": [*plain, *(f"https://{host}/a.png" for host in hosts()[::4])],
        "two hosts": list(_two_hosts("127.0.0.1")) + list(_two_hosts("169.254.169.254")),
        "characters": list(_characters()),
        "letters": [f"http://{host}/" for host in _letters()],
        "brackets": [f"http://{host}/" for host in _brackets()],
        "ports": [f"http://127.0.0.1:{port}/" for port in _ports()],
        "schemes": [f"{scheme}://127.0.0.1/etc/passwd" for scheme in SCHEMES],
        "no URLs": list(_malformed("127.0.0.1")),
    }


def _two_hosts(inside: str) -> Iterator[str]:
    """Parsers differ in which one they see; whoever sees the first here must not ask it."""
    for at in ("@", "%40", ":80@", ":pass@", "#@", "?@", "/@", "\\@", ";@", "&@", " @", "\t@"):
        yield f"http://{inside}{at}{GOOD}/"
    for at in ("@", ":80@", ":pass@", "\\@", "%00@", "%23@", " @", "\t@", "@@", "\\\\@", "[@"):
        yield f"http://{GOOD}{at}{inside}/"
    yield from (
        f"http://{GOOD}\\{inside}/",
        f"http://{GOOD}\\.{inside}/",
        f"http://{GOOD},{inside}/",
    )
    yield from (f"http://{GOOD} {inside}/", f"http://{inside},{GOOD}/", f"http://{inside};{GOOD}/")
    yield from (f"http://{GOOD}%2f@{inside}/", f"http://{GOOD}%0d%0aHost:%20{inside}/")


def _characters() -> Iterator[str]:
    for sign in CONTROLS:
        yield from (
            f"http://{sign}127.0.0.1/",
            f"http://127.0.0.1{sign}/",
            f"http://127.0{sign}.0.1/",
        )
        yield from (f"{sign}http://127.0.0.1/", f"ht{sign}tp://127.0.0.1/")


def _letters() -> Iterator[str]:
    """Digits, dots and letters that become plain ones by IDNA, NFKC or percent-decoding."""
    yield from (
        "１２７.0.0.1",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "127．0．0．1",
        "127｡0｡0｡1",
        "١٢٧.٠.٠.١",
    )
    yield from ("ｌｏｃａｌｈｏｓｔ", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "ℓocalhost", "locaⅼhost", "loc\u00adalhost")
    yield from ("%31%32%37.0.0.1", "127%2e0%2e0%2e1", "%6cocalhost", "localhost%00", "127.0.0.1%00")
    yield from ("127.0.0.1%20", "127.0.0.1%0a", "%5b::1%5d", "127.0.0.1%2523", "127.0.0.1%c0%ae")
    yield from (
        "127.0.0.1.",
        "127.0.0.1..",
        "localhost.",
        ".127.0.0.1",
        "127..0.0.1",
        "localhost..",
    )
    yield from ("127.0.0.1_", "-127.0.0.1", "127.0.0.1-", "127.0.0.1/..", "0x7f.1.", "2130706433.")


def _brackets() -> Iterator[str]:
    yield from (
        "[fe80::1%25eth0]",
        "[fe80::1%eth0]",
        "[::1%25lo]",
        "[::1%1]",
        "[::ffff:127.0.0.1%1]",
    )
    yield from (
        "[127.0.0.1]",
        "[::1",
        "::1]",
        "::1",
        "[[::1]]",
        "[::1]]",
        "[::1].",
        "[::1]x",
        "x[::1]",
    )
    yield from ("[2130706433]", "[v1.127.0.0.1]", "[localhost]", "[]", "[::1]@", "[::1]:", "[:::1]")
    yield from (
        "[::1]:80:80",
        "[::127.1]",
        "[0x0::1]",
        "[::ffff:0x7f.0.0.1]",
        "[::１]",
        "[::1/128]",
    )


def _ports() -> Iterator[str]:
    yield from (
        "",
        "0",
        "-1",
        "65536",
        "99999",
        "100000",
        "65616",
        "4294967376",
        "80a",
        "٨٠",
        "８０",
    )
    yield from ("080", "00080", "+80", " 80", "80 ", "80:80", "80@", "80%00", "0x50", "1e2", "8_0")
    yield from ("22", "25", "53", "2375", "3306", "5432", "6379", "8000", "8080", "9200", "11211")


def _malformed(inside: str) -> Iterator[str]:
    yield from (f"http:{inside}/", f"http:/{inside}/", f"http:///{inside}/", f"http:////{inside}/")
    yield from (f"//{inside}/", f"///{inside}/", f"/{inside}/", f"://{inside}/", f"\\\\{inside}\\a")
    yield from (
        f"http:\\\\{inside}/",
        f"http:/\\{inside}/",
        f"http//{inside}/",
        f"http;//{inside}/",
    )
    yield from (f"http::{inside}/", f"http:@{inside}/", f"http://@{inside}/", f"http://:@{inside}/")
    yield from (
        f"http://:80@{inside}/",
        f"http://?{inside}/",
        f"http://#{inside}/",
        "http://",
        "http",
    )
    yield from (
        f"https:{inside}/",
        f"http://{inside}\\..\\a",
        f"http://{inside}/a b",
        f"<http://{inside}/>",
    )
    yield from (
        f"http://{inside}/\r\nX: y",
        f'"http://{inside}/"',
        f"http://{inside}/ü",
        f"{inside}:80/",
    )
    yield from (
        f"http://{inside}/{'a' * 5000}",
        f"http://{'a.' * 500}{inside}/",
        f"http://{'0' * 300}1/",
    )
