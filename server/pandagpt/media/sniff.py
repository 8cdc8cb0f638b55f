"""What bytes look like, from their first few: never from a name or a MIME type.

Only what is in the table is ever opened, and by the reader named here, so that nothing
is probed for: a playlist that calls itself a film stays text.
"""

from dataclasses import dataclass
from typing import Literal

from pandagpt.errors import InvalidMedia

Family = Literal["picture", "sound", "film", "table", "other"]


@dataclass(frozen=True, slots=True)
class Kind:
    """`name` is for messages. A `container` of both sound and film is of family film.

    `states_duration`: the header says how long it lasts, so that a cut file can be told.
    """

    name: str
    family: Family
    container: str | None = None
    states_duration: bool = False


WAV = Kind("a WAV sound", "sound", "wav", states_duration=True)
MP3 = Kind("an MP3 sound", "sound", "mp3")
FLAC = Kind("a FLAC sound", "sound", "flac", states_duration=True)
AAC = Kind("an AAC sound", "sound", "aac")
AIFF = Kind("an AIFF sound", "sound", "aiff", states_duration=True)
OGG = Kind("an Ogg file", "film", "ogg")
MP4 = Kind("an MP4 or QuickTime file", "film", "mov", states_duration=True)
MATROSKA = Kind("a WebM or Matroska file", "film", "matroska", states_duration=True)
AVI = Kind("an AVI film", "film", "avi", states_duration=True)
MPEG_TS = Kind("an MPEG transport stream", "film", "mpegts")
MPEG_PS = Kind("an MPEG film", "film", "mpeg")
GIF = Kind("a GIF picture", "picture", "gif")
AVIF = Kind("an AVIF picture", "picture")
HEIF = Kind("a HEIF picture, which is not read here (send JPEG or PNG)", "other")
NPY = Kind("a NumPy array", "table")
JSON = Kind("JSON text", "table")
CSV = Kind("a table in text", "table")
EMPTY = Kind("nothing", "other")
UNKNOWN = Kind("bytes of no known kind", "other")

_PREFIXES: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG\r\n\x1a\n", Kind("a PNG picture", "picture")),
    (b"\xff\xd8\xff", Kind("a JPEG picture", "picture")),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"II*\0", Kind("a TIFF picture", "picture")),
    (b"MM\0*", Kind("a TIFF picture", "picture")),
    (b"BM", Kind("a BMP picture", "picture")),
    (b"fLaC", FLAC),
    (b"ID3", MP3),
    (b"OggS", OGG),
    (b"\x1aE\xdf\xa3", MATROSKA),
    (b"\x00\x00\x01\xba", MPEG_PS),
    (b"\x93NUMPY", NPY),
    (b"%PDF", Kind("a PDF document", "other")),
    (b"PK\x03\x04", Kind("a ZIP archive", "other")),
    (b"\x1f\x8b", Kind("a gzip archive", "other")),
    (b"\xff\xfe", Kind("UTF-16 text (send UTF-8)", "other")),
    (b"8BPS", Kind("a Photoshop picture, which is not read here", "other")),
    (b"ffconcat", Kind("a playlist", "other")),
    (b"#EXTM3U", Kind("a playlist", "other")),
    (b"v=0", Kind("a session description", "other")),
)
_RIFF_FORMS = {
    b"WAVE": WAV,
    b"AVI ": AVI,
    b"WEBP": Kind("a WebP picture", "picture"),
    b"AIFF": AIFF,
    b"AIFC": AIFF,
}
_BRANDS = {b"avif": AVIF, b"avis": AVIF} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"), HEIF
)
_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_TS_PACKET_BYTES = 188


def sniff(data: bytes) -> Kind:
    if not data:
        return EMPTY
    if data[:4] in (b"RIFF", b"RF64", b"FORM"):
        return _RIFF_FORMS.get(data[8:12], UNKNOWN)
    if data[4:8] in _ATOMS:
        return _BRANDS.get(data[8:12], MP4)
    for prefix, kind in _PREFIXES:
        if data.startswith(prefix):
            return kind
    return _sniff_stream(data) or _sniff_text(data)


def _sniff_stream(data: bytes) -> Kind | None:
    """Formats that begin with a sync word instead of a name."""
    if data[0] == 0x47 and data[_TS_PACKET_BYTES : _TS_PACKET_BYTES + 1] == b"\x47":
        return MPEG_TS
    if len(data) < 2 or data[0] != 0xFF:
        return None
    if data[1] & 0xF6 == 0xF0:
        return AAC
    is_layer_2_or_3 = data[1] & 0x06 in (0x02, 0x04)
    return MP3 if data[1] & 0xE0 == 0xE0 and is_layer_2_or_3 else None


def _sniff_text(data: bytes) -> Kind:
    try:
        # A character that is cut at the end of the sample is no reason to call it binary.
        text = data[:1024].decode("utf-8-sig", "strict" if len(data) <= 1024 else "ignore")
    except UnicodeDecodeError:
        return UNKNOWN
    text = text.lstrip()
    if not text or "\0" in text or "\ufffd" in text:
        return UNKNOWN
    if text[0] in "[{":
        return JSON
    if text[0] == "<":
        return Kind("markup, such as SVG or HTML", "other")
    first, _, rest = text.partition("\n")
    return CSV if any(mark in first + rest for mark in ",;\t") else Kind("text", "other")


def expect(data: bytes, families: tuple[Family, ...], wanted: str) -> Kind:
    """The kind of `data`, or InvalidMedia that says what was found instead of `wanted`."""
    kind = sniff(data)
    if kind is EMPTY:
        raise InvalidMedia(f"The file is empty; {wanted} was expected.")
    if kind.family not in families:
        raise InvalidMedia(f"Expected {wanted}, found {kind.name}.")
    return kind
