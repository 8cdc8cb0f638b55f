"""Base64, data URLs and samples: bounded, never ambiguous, and no way out of the folder."""

import base64
from pathlib import Path

import pytest

from pandagpt.api import source
from pandagpt.api.source import decode_base64, decode_data, read_url
from pandagpt.errors import InvalidMedia, MediaNotAllowed, MediaTooLarge

DATA = bytes(range(256))
TEXT = base64.b64encode(DATA).decode()


@pytest.mark.parametrize(
    "head",
    [
        "data:;base64,",
        "data:image/png;base64,",
        "data:image/png;charset=utf-8;name=a.png;base64,",
        "DATA:image/PNG;BASE64,",
    ],
)
def test_data_urls(head: str) -> None:
    assert read_url(head + TEXT, 256) == DATA
    assert decode_data(head + TEXT, 256) == DATA


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "data:",
        "data:,",
        "data:text/plain,hello",
        "data:;base64",
        "data:;base64;" + TEXT,
        "data:" + ";a=b" * 200 + ";base64," + TEXT,
        "data:;base64,AAA" + TEXT.rstrip("="),
        "data:;base64," + TEXT + "====",
        "data:;base64," + TEXT[:8] + "==" + TEXT[8:],
        "data:;base64," + TEXT[:8] + "\v" + TEXT[8:],
        "data:;base64,",
        "data:;base64,é",
    ],
)
def test_what_is_no_data_url(url: str) -> None:
    with pytest.raises(InvalidMedia) as caught:
        read_url(url, 10_000)
    assert TEXT[:40] not in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT + "\n",
        " " + TEXT,
        base64.encodebytes(DATA).decode(),
        base64.encodebytes(DATA).decode().replace("\n", "\r\n"),
        TEXT.rstrip("="),
        TEXT.removesuffix("="),
        base64.urlsafe_b64encode(DATA).decode(),
        base64.urlsafe_b64encode(DATA).decode().rstrip("="),
    ],
)
def test_base64_as_encoders_write_it(text: str) -> None:
    assert decode_data(text, 300) == DATA
    assert read_url("data:;base64," + text, 300) == DATA


def test_size_is_known_before_decoding() -> None:
    assert decode_base64(TEXT, 256) == DATA
    with pytest.raises(MediaTooLarge, match="limit is 200"):
        decode_base64(TEXT, 200)


@pytest.mark.parametrize("url", ["http://x", "https://x", "file:///x", "ftp://x", "javascript:x"])
def test_schemes_that_are_refused(url: str) -> None:
    for read in (read_url, decode_data):
        with pytest.raises(MediaNotAllowed, match=r"not allowed|own disk"):
            read(url, 100)


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "samples"
    folder.mkdir()
    (folder / "dog.png").write_bytes(b"dog")
    (folder / "README.md").write_text("no sample")
    (tmp_path / "secret.txt").write_text("secret")
    monkeypatch.setattr(source, "SAMPLES_DIR", folder)
    source._samples.cache_clear()
    return folder


@pytest.mark.usefixtures("samples")
def test_samples() -> None:
    assert read_url("sample://dog.png", 100) == b"dog"
    assert decode_data("sample://dog.png", 100) == b"dog"
    for name in ("", "cat.png", "README.md", "../secret.txt", "./dog.png", "dog.png/", "%2e%2e"):
        with pytest.raises(InvalidMedia, match=r"There are: dog\.png\."):
            read_url(f"sample://{name}", 100)
    source._samples.cache_clear()
