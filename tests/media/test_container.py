"""The allow-lists themselves, as the second wall behind choosing the reader by content."""

from pathlib import Path

import pytest

from pandagpt.errors import InvalidMedia
from pandagpt.media.container import FILM_CODECS, open_container
from pandagpt.media.sniff import Kind
from tests.media.made import film


@pytest.mark.parametrize("reader", [None, "concat", "hls", "sdp"])
def test_readers_that_follow_names_are_refused(reader: str | None, tmp_path: Path) -> None:
    named = tmp_path / "named.mp4"
    named.write_bytes(film(5))
    playlist = f"ffconcat version 1.0\nfile {named}\n".encode()
    kind = Kind("a playlist", "film", reader)
    with pytest.raises(InvalidMedia), open_container(playlist, kind, FILM_CODECS, 10**6):
        pytest.fail("opened")


def test_our_own_mistakes_are_not_called_bad_media() -> None:
    kind = Kind("a film", "film", "mov")
    with pytest.raises(AssertionError), open_container(film(5), kind, FILM_CODECS, 10**6):
        raise AssertionError
