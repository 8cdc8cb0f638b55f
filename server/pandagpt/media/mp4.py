"""MP4 and QuickTime headers: how many samples the tables of a file claim.

FFmpeg makes an index of them before it reads one: some 70 bytes each, and a header of a few
bytes may claim billions. Knows nothing else of the format.
"""

import re
from collections.abc import Iterator

from pandagpt.errors import InvalidMedia

# Sample tables: their type, version and flags (4 bytes), then as the names say. Fragments
# (`trun`) do not state a size here; `cmov` is a header that is itself packed. The numbers are
# only looked at, so that no table can hide behind bytes that look like one.
_TABLE = re.compile(
    rb"(?P<table>stsz|stz2|trun|cmov)(?=....(?P<first>....)(?P<second>....)?)", re.DOTALL
)
_TABLE_BYTES = 16


def check_num_samples(data: bytes) -> None:
    """Raises InvalidMedia if the samples could not all lie in the file, one byte for each."""
    num_bytes = 0
    for start, end in _headers(data):
        # A box may end within a table; a reader would read on.
        tables = _TABLE.finditer(data, start, end + _TABLE_BYTES)
        num_bytes += sum(map(_claimed_bytes, tables))
    if num_bytes > len(data):
        raise InvalidMedia(
            "The MP4 or QuickTime file's header claims more than the file holds. It is broken or "
            "cut short."
        )


def _headers(data: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of all boxes but `mdat`, in which chance may write anything."""
    start = 0
    while start < len(data):
        size, kind = int.from_bytes(data[start : start + 4]), data[start + 4 : start + 8]
        if size == 1:
            size = int.from_bytes(data[start + 8 : start + 16])
        # Without a size that leads on, the rest is one box.
        end = start + size if size >= 8 else len(data)
        if kind != b"mdat" or size < 8:
            yield start, end
        start = end


def _claimed_bytes(match: re.Match[bytes]) -> int:
    first, second = (int.from_bytes(match[name] or b"") for name in ("first", "second"))
    match match["table"]:
        case b"cmov":
            raise InvalidMedia("The MP4 or QuickTime file's header is packed. Save it unpacked.")
        case b"stsz":
            # Sizes in a table of their own (first = 0) are in the file, or FFmpeg stops there.
            return max(first, 1) * second
        case b"stz2":
            return second
    return first
