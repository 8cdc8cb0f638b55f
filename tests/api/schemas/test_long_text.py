"""Hoisting and restoring is reading the whole: for every body, however hostile."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pandagpt.api.schemas import long_text
from pandagpt.api.schemas.chat import ChatRequest
from pandagpt.api.schemas.long_text import LongText, hoist, restore
from pandagpt.api.schemas.parts import ImagePart, TextPart
from pandagpt.api.schemas.request import parse_body
from pandagpt.api.source import decode_base64, read_url
from pandagpt.errors import InvalidJson, InvalidMedia

DATA = bytes(range(256)) * 8
BASE64 = base64.b64encode(DATA).decode()


@pytest.fixture(autouse=True, scope="module")
def _small_pieces() -> Any:
    """So that small bodies have many pieces and cuts at every place."""
    patch = pytest.MonkeyPatch()
    patch.setattr(long_text, "MIN_LITERAL_BYTES", 8)
    patch.setattr(long_text, "PIECE_BYTES", 16)
    yield
    patch.undo()


def read(body: bytes) -> Any:
    """What is read by way of hoisting; None: it is no JSON object."""
    rest, texts = hoist(body)
    try:
        data = json.loads(rest.decode())
    except ValueError:
        return None
    return _as_strings(restore(data, texts)) if isinstance(data, dict) else None


def whole(body: bytes) -> Any:
    try:
        data = json.loads(body.decode())
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


def _as_strings(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _as_strings(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_as_strings(item) for item in node]
    return str(node) if isinstance(node, LongText) else node


long_or_short = st.one_of(
    st.text(max_size=60),
    st.text("AB/+=\\\"\u00e9\n ':,", max_size=80),
    st.binary(max_size=80).map(lambda data: base64.b64encode(data).decode()),
)
values = st.recursive(
    long_or_short | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(long_or_short, inner, max_size=4),
    max_leaves=8,
)
KEYS = ("messages", "input", "url", "data", "stop")


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS) | long_or_short, values, max_size=4), st.booleans())
def test_any_json_is_read_as_a_whole(data: dict[str, Any], is_ascii: bool) -> None:
    body = json.dumps(data, ensure_ascii=is_ascii).encode()
    for written in (body, body.replace(b"/", b"\\/"), body.replace(b"+", b"\\u002B")):
        assert read(written) == whole(written)


MARKS = (b'"', b"\\", b"\\u0041", b"\\u00", b"\\/", b":", b",", b"{", b"}", b"[", b"]", b" ", b"\n")
WORDS = (b"AAAABBBB" * 4, b"data:;base64,", b"\xff", "é".encode(), b"1", b"true", b"\x01", b"\0")
pieces = st.sampled_from(MARKS + WORDS)


@settings(max_examples=1500, deadline=None)
@given(st.lists(pieces, max_size=24).map(b"".join), st.booleans())
@example(b'"AAAAAAAAAAAAAAAA" : "BBBBBBBBBBBBBBBBBBBBBBB', True)
@example(b'"a"AAAAAAAAAAAAAAAAAAAAAAAAAAAA"b": 1', True)
@example(b'"a ":"x \\" :"AAAAAAAAAAAAAAAAAAAAAAAA"', True)
def test_any_bytes_are_json_or_not_as_a_whole(inner: bytes, in_object: bool) -> None:
    body = b'{"a":%b}' % inner if in_object else inner
    assert read(body) == whole(body)


def body_with(url: str) -> bytes:
    return (
        b'{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url":'
        b' {"url": "%b"}}]}]}' % url.encode()
    )


def url_of(chat: ChatRequest) -> Any:
    content = chat.messages[0].content
    assert content
    assert isinstance(content[0], ImagePart)
    return content[0].image_url.url


@pytest.mark.parametrize(
    "written",
    [
        str,
        lambda text: text.replace("/", "\\/"),
        lambda text: text.replace("+", "\\u002B").replace("/", "\\u002f"),
        lambda text: "\\n".join(text[i : i + 76] for i in range(0, len(text), 76)),
    ],
    ids=["plain", "as PHP", "as .NET", "lines"],
)
def test_media_stay_in_the_body(written: Callable[[str], str]) -> None:
    url = url_of(parse_body(ChatRequest, body_with(f"data:image/png;base64,{written(BASE64)}")))
    assert isinstance(url, LongText)
    assert read_url(url, 10_000) == DATA


@pytest.mark.parametrize("bad", ["!", "=", "é", "\\u00e9", "\\u0000"])
def test_bad_base64(bad: str) -> None:
    url = url_of(parse_body(ChatRequest, body_with(f"data:;base64,{BASE64[:77]}{bad}{BASE64}")))
    with pytest.raises(InvalidMedia, match="not valid base64"):
        read_url(url, 10_000)


def test_texts_become_strings() -> None:
    content = [{"type": "text", "text": "word " * 40}]
    body = {"messages": [{"role": "user", "content": content}], "stop": ["b" * 50]}
    chat = parse_body(ChatRequest, json.dumps(body).encode())
    assert chat.messages[0].content == [TextPart(type="text", text="word " * 40)]
    assert chat.stop == ["b" * 50]


def test_the_last_of_equal_keys_holds() -> None:
    key = "k" * 40
    assert read(f'{{"{key}": 1, "{key}": 2}}'.encode()) == {key: 2}


def test_tokens_are_new_for_each_body() -> None:
    body = body_with(BASE64)
    (_, first), (_, second) = hoist(body), hoist(body)
    assert first.keys().isdisjoint(second.keys())


def test_a_byte_order_mark_is_refused() -> None:
    with pytest.raises(InvalidJson):
        parse_body(ChatRequest, b"\xef\xbb\xbf" + body_with(BASE64))


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_text, "MAX_REST_BYTES", 1000)
    monkeypatch.setattr(long_text, "MAX_TEXT_BYTES", 100)
    parse_body(ChatRequest, body_with(BASE64))
    with pytest.raises(InvalidJson, match="besides media and long plain texts; the limit is 1000"):
        parse_body(ChatRequest, body_with("é" * 600))
    with pytest.raises(InvalidJson, match="A text in the body has 101 bytes; the limit is 100"):
        parse_body(ChatRequest, b'{"messages": "%b"}' % (b"a" * 101))


@settings(max_examples=400, deadline=None)
@given(st.text("AQ/=-_ \n!", max_size=60))
def test_base64_in_pieces_is_base64_as_a_whole(text: str) -> None:
    def result(given: str | LongText) -> bytes | str:
        try:
            return decode_base64(given, 1000)
        except InvalidMedia as error:
            return error.message

    data = text.encode()
    cut = tuple(data[i : i + 5] for i in range(0, len(data), 5))
    assert result(LongText(cut)) == result(text)
