"""MP4: a header cannot ask for memory that the file does not have."""

import struct

import pytest

from pandagpt.errors import InvalidMedia
from pandagpt.media.limits import MediaLimits
from pandagpt.media.loader import load
from pandagpt.media.modality import Modality
from pandagpt.media.mp4 import check_num_samples
from pandagpt.media.options import MediaOptions
from tests.media.made import film, sound, tone

MANY = 2**27


def box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def table(kind: bytes, *numbers: int) -> bytes:
    return box(kind, struct.pack(f">{1 + len(numbers)}I", 0, *numbers))


def forged(data: bytes) -> bytes:
    """Its first table claims MANY samples of one byte each."""
    at = data.index(b"stsz") + 8
    return data[:at] + struct.pack(">II", 1, MANY) + data[at + 8 :]


def test_a_forged_film_is_refused_before_it_is_opened() -> None:
    with pytest.raises(InvalidMedia, match="claims more than the file holds"):
        load(Modality.VIDEO, forged(film(5)), MediaOptions(), MediaLimits())


@pytest.mark.parametrize(
    "data",
    [
        box(b"ftyp", b"mp42") + box(b"moov", box(b"trak", table(b"stsz", 1, MANY))),
        box(b"ftyp", b"mp42") + box(b"moov", box(b"trak", table(b"stsz", 0, MANY))),
        box(b"moov", table(b"stsz", 2**31, 2)),
        box(b"moov", table(b"stz2", 8, MANY)),
        box(b"moof", box(b"traf", table(b"trun", MANY))),
        box(b"free", box(b"moov", table(b"stsz", 1, MANY))),
        box(b"mdat", bytes(50)) + box(b"moov", table(b"stsz", 1, MANY)),
        struct.pack(">I4sQ", 1, b"mdat", 32) + bytes(16) + table(b"stsz", 1, MANY),
        struct.pack(">I4s", 0, b"moov") + table(b"stsz", 1, MANY),
        struct.pack(">I4s", 5, b"mdat") + table(b"stsz", 1, MANY),
        struct.pack(">I4s", 2**32 - 1, b"moov") + table(b"stsz", 1, MANY),
        b"".join(box(b"moof", table(b"trun", 60)) for _ in range(9)),
        box(b"moov", b"trun" + bytes(8) + table(b"stsz", 1, MANY)),
        struct.pack(">I4s", 16, b"moov") + table(b"stsz", 1, MANY),
        box(b"moov", box(b"cmov", bytes(20))),
    ],
)
def test_claims_are_found_wherever_a_reader_would(data: bytes) -> None:
    with pytest.raises(InvalidMedia):
        check_num_samples(data)


@pytest.mark.parametrize(
    "data",
    [
        film(50),
        sound(tone(2), 16_000, "mp4", "aac"),
        box(b"mdat", table(b"stsz", 1, MANY)) + box(b"moov", table(b"stsz", 4, 5)),
        b"",
        b"\0\0\0\x08moov",
        b"\0\0\0\x10moovstsz",
    ],
)
def test_true_claims_pass(data: bytes) -> None:
    check_num_samples(data)
