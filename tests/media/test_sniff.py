"""What bytes look like; every name here ends up in an error message."""

import pytest

from pandagpt.media.sniff import sniff


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"", "nothing"),
        (b"\xff\xfb\x90\x00", "an MP3 sound"),
        (b"\xff\xf1\x50\x80", "an AAC sound"),
        (b"\xff\xd8\xff\xe0", "a JPEG picture"),
        (b"\xff\xfe1\x00,\x00", "UTF-16 text (send UTF-8)"),
        (b"\xff\xff\xff\xff", "bytes of no known kind"),
        (b"RIFF\0\0\0\0WEBP", "a WebP picture"),
        (b"RIFF\0\0\0\0AVI ", "an AVI film"),
        (b"RIFF\0\0\0\0CDDA", "bytes of no known kind"),
        (b"FORM\0\0\0\0AIFC", "an AIFF sound"),
        (b"\0\0\0\x20ftypavif", "an AVIF picture"),
        (b"\0\0\0\x20ftypqt  ", "an MP4 or QuickTime file"),
        (b"\0\0\0\x08wide", "an MP4 or QuickTime file"),
        (b"G" + bytes(187) + b"G", "an MPEG transport stream"),
        (b"Gas,1,2", "a table in text"),
        (b'  {"data": []}', "JSON text"),
        ("é;1;2\n".encode(), "a table in text"),
        (b"1,2\n" * 256 + "é".encode() * 2, "a table in text"),
        (b"hello", "text"),
        (b"#EXTM3U\n", "a playlist"),
        (b"1,2\0", "bytes of no known kind"),
    ],
)
def test_names(data: bytes, name: str) -> None:
    assert sniff(data).name == name
