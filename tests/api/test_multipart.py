"""Forms in pieces of any size: the file's bytes come out, and what is no form is refused."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandagpt.api.multipart import MAX_FIELD_BYTES, MAX_FIELDS, FormReader
from pandagpt.errors import InvalidValue, RequestError, UnsupportedValue

TYPE = "multipart/form-data; boundary=B"
FILE = 'form-data; name="file"; filename="a.png"'
END = b"--B--\r\n"


def part(data: bytes, disposition: str = FILE, *headers: str) -> bytes:
    lines = [f"Content-Disposition: {disposition}", *headers]
    return b"--B\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + data + b"\r\n"


def field(name: str, value: str) -> bytes:
    return part(value.encode(), f'form-data; name="{name}"')


def read(form: bytes, step: int = 2**16) -> tuple[FormReader, bytes]:
    reader = FormReader(TYPE)
    data = b"".join(reader.feed(form[i : i + step]) for i in range(0, len(form), step))
    reader.flush()
    return reader, data


@pytest.mark.parametrize("step", [1, 2, 7, 10**6])
def test_pieces_of_any_size(step: int) -> None:
    content = b"\r\n--A\r\n-B\r--B\n--B \0" + os.urandom(99)
    form = field("purpose", "vision") + part(content) + field("x[y]", "\u00e9") + END
    reader, data = read(form, step)
    assert data == content
    assert reader.filename == "a.png"
    assert reader.fields == {"purpose": "vision", "x[y]": "\u00e9"}


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("a.png", "a.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\\\x\\\\y.wav", "y.wav"),
        ("/", "file"),
        ("", "file"),
        ("\u00fc \u8c61.png", "\u00fc \u8c61.png"),
        ("a\x01\u202eb.png", "ab.png"),
        ("n" * 999, "n" * 255),
    ],
)
def test_names_are_reduced(given_name: str, kept: str) -> None:
    reader, _ = read(part(b"x", f'form-data; name="file"; filename="{given_name}"') + END)
    assert reader.filename == kept


def test_a_file_without_a_name_is_a_file() -> None:
    reader, data = read(field("file", "abc") + END)
    assert (reader.filename, data) == ("file", b"abc")


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (b"", "no complete"),
        (b"junk", "no complete"),
        (b"--A\r\n", "no complete"),
        (part(b"x"), "no complete"),
        (part(b"x") + b"--B", "no complete"),
        (part(b"x").replace(b"\r\n\r\n", b"\r\n") + END, "no complete"),
        (part(b"x", FILE, "x" * 10_000 + ": 1") + END, "no complete"),
        (part(b"x", FILE, *(f"h{i}: 1" for i in range(99))) + END, "no complete"),
        (part(b"x") + part(b"y") + END, "more than one file"),
        (part(b"x", 'form-data; name="data"; filename="a"') + END, "must be named"),
        (part(b"x", "form-data") + END, "no name"),
        (b"--B\r\nX: 1\r\n\r\nx\r\n" + END, "no name"),
        (field("a", "x" * (MAX_FIELD_BYTES + 1)) + END, "longer than"),
        (b"".join(field(f"a{i}", "x") for i in range(MAX_FIELDS + 1)) + END, "more than 8"),
        (field("a", "x") * (MAX_FIELDS + 1) + END, "more than 8"),
    ],
)
@pytest.mark.parametrize("step", [1, 2**20])
def test_what_is_no_form(form: bytes, words: str, step: int) -> None:
    with pytest.raises(InvalidValue, match=words):
        read(form, step)


def test_transfer_encodings_are_refused() -> None:
    with pytest.raises(UnsupportedValue, match="as they are"):
        read(part(b"eA==", FILE, "Content-Transfer-Encoding: base64") + END)


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=", f"x; boundary={'b' * 999}"],
)
def test_boundaries(content_type: str) -> None:
    with pytest.raises(InvalidValue, match="boundary"):
        FormReader(content_type)


marks = st.sampled_from([b"--B", b"--B--", b"\r\n", b"--", part(b"x"), field("a", "b"), b":", b'"'])


@settings(max_examples=200, deadline=None)
@given(st.lists(marks | st.binary(max_size=20), max_size=12).map(b"".join))
def test_any_bytes(form: bytes) -> None:
    """A form or a refusal, and the same for one byte at a time."""
    results = []
    for step in (1, 2**20):
        try:
            reader, data = read(form, step)
            # A form without a file is refused as well, only later.
            results.append(reader.filename and (reader.fields, reader.filename, data))
        except RequestError:
            results.append(None)
    assert results[0] == results[1]
