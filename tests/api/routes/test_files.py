"""/v1/files over HTTP: what goes in comes out, to its owner alone; and by `file_id` to a model."""

import asyncio
import base64
import re
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from pandagpt.api.routes import files
from pandagpt.api.serving import ServedModel, Serving
from pandagpt.settings import Settings
from tests.api.conftest import Connect, ScriptedEngine, serving
from tests.api.test_errors import assert_error

FILES = "/v1/files"
SAMPLES = Path(files.__file__).parents[2] / "samples"
FORM = {"content-type": "multipart/form-data; boundary=B"}
HEAD = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
END = b"\r\n--B--\r\n"


async def put(client: httpx.AsyncClient, data: bytes = b"abc", **fields: Any) -> dict[str, Any]:
    name = fields.pop("name", "a.png")
    response = await client.post(FILES, files={"file": (name, data)}, data=fields)
    assert response.status_code == 200, response.text
    return response.json()


async def ids(client: httpx.AsyncClient, **query: Any) -> list[str]:
    response = await client.get(FILES, params=query)
    assert response.status_code == 200, response.text
    return [file["id"] for file in response.json()["data"]]


async def test_a_file_from_start_to_end(client: httpx.AsyncClient) -> None:
    before = int(time.time())
    file = await put(client, b"a\r\n\0b", name="x/../\u00fc.png", purpose="vision")
    assert re.fullmatch("file-[0-9a-f]{32}", file["id"])
    assert (file["object"], file["bytes"], file["filename"]) == ("file", 5, "\u00fc.png")
    assert (file["purpose"], file["status"]) == ("vision", "processed")
    assert before <= file["created_at"] <= time.time()
    assert file["expires_at"] == file["created_at"] + 86_400
    assert (await client.get(f"{FILES}/{file['id']}")).json() == file
    content = await client.get(f"{FILES}/{file['id']}/content")
    assert content.content == b"a\r\n\0b"
    assert content.headers["content-type"] == "application/octet-stream"
    assert content.headers["content-length"] == "5"
    assert content.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%BC.png"
    assert content.headers["x-content-type-options"] == "nosniff"
    gone = await client.delete(f"{FILES}/{file['id']}")
    assert gone.json() == {"id": file["id"], "object": "file", "deleted": True}
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        response = await client.request(method, f"{FILES}/{file['id']}{path}")
        assert_error(response, 404, "file_not_found")
    assert await ids(client) == []


async def test_names_cannot_break_headers(client: httpx.AsyncClient) -> None:
    file = await put(client, name='a";\r\nx: y;.html')
    headers = (await client.get(f"{FILES}/{file['id']}/content")).headers
    assert "x" not in headers
    assert headers["content-type"] == "application/octet-stream"
    assert '"' not in headers["content-disposition"]


async def test_lists(client: httpx.AsyncClient) -> None:
    made = [(await put(client, purpose=p))["id"] for p in ("vision", "user_data", "vision")]
    assert await ids(client) == made[::-1]
    assert await ids(client, order="asc") == made
    assert await ids(client, order="asc", limit=2) == made[:2]
    assert await ids(client, order="asc", after=made[0]) == made[1:]
    assert await ids(client, after=made[1], limit=1) == made[:1]
    assert await ids(client, purpose="vision", order="asc") == [made[0], made[2]]
    assert await ids(client, purpose="batch") == []
    page = (await client.get(FILES, params={"limit": 2, "order": "asc"})).json()
    assert (page["object"], page["has_more"]) == ("list", True)
    assert (page["first_id"], page["last_id"]) == (made[0], made[1])
    empty = (await client.get(FILES, params={"after": made[0]})).json()
    assert empty == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [("limit", "0"), ("limit", "10001"), ("limit", "x"), ("limit", "1e1"), ("order", "up")],
)
async def test_wrong_queries(client: httpx.AsyncClient, name: str, value: str) -> None:
    assert_error(await client.get(FILES, params={name: value}), 400, "invalid_value", name)


async def test_after_what_is_not_there(client: httpx.AsyncClient) -> None:
    response = await client.get(FILES, params={"after": "file-1"})
    assert_error(response, 404, "file_not_found", "after")


async def test_expiry(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: Any = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    file = await put(client, **wanted)
    assert file["expires_at"] == file["created_at"] + 3600
    now = time.time() + 3601
    monkeypatch.setattr(time, "time", lambda: now)
    assert_error(await client.get(f"{FILES}/{file['id']}"), 404, "file_not_found")


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"purpose": "fine-tune"}, "invalid_value", "purpose"),
        ({"expires_after": "3600"}, "invalid_value", "expires_after"),
        (
            {"expires_after[seconds]": "5"},
            "missing_required_parameter",
            "expires_after.anchor",
        ),
        (
            {"expires_after[anchor]": "now", "expires_after[seconds]": "5"},
            "invalid_value",
            "expires_after.anchor",
        ),
        *(
            (
                {"expires_after[anchor]": "created_at", "expires_after[seconds]": seconds},
                "invalid_value",
                "expires_after.seconds",
            )
            for seconds in ("0", "-1", "x", "1.5", "86401", "9" * 99)
        ),
    ],
)
async def test_wrong_fields(
    connect: Connect, tmp_path: Path, fields: dict[str, str], code: str, param: str
) -> None:
    async with connect(Settings(files_dir=tmp_path)) as client:
        response = await client.post(FILES, files={"file": ("a", b"x")}, data=fields)
        assert_error(response, 400, code, param)
    assert list(tmp_path.iterdir()) == []


TWO = HEAD + b"x\r\n" + HEAD + b"y" + END
OTHER = HEAD.replace(b'"file"', b'"data"') + b"x" + END
FIELD = b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n'


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_value", None),
        (b"--B--\r\n", "missing_required_parameter", "file"),
        (FIELD + b"--B--\r\n", "missing_required_parameter", "file"),
        (HEAD + END, "invalid_value", "file"),
        (HEAD + b"x", "invalid_value", None),
        (HEAD.replace(b"--B", b"--C") + b"x" + END, "invalid_value", None),
        (TWO, "invalid_value", "file"),
        (OTHER, "invalid_value", "file"),
        (FIELD * 9 + HEAD + b"x" + END, "invalid_value", None),
        (HEAD[:-4] + b"\r\nX: " + b"y" * 9000 + b"\r\n\r\nx" + END, "invalid_value", None),
    ],
)
async def test_wrong_forms(
    connect: Connect, tmp_path: Path, body: bytes, code: str, param: str | None
) -> None:
    async with connect(Settings(files_dir=tmp_path)) as client:
        response = await client.post(FILES, content=body, headers=FORM)
        assert_error(response, 400, code, param)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["application/json", "", "multipart/mixed; boundary=B"])
async def test_what_is_no_form(client: httpx.AsyncClient, kind: str) -> None:
    response = await client.post(FILES, content=b"{}", headers={"content-type": kind})
    assert_error(response, 415, "unsupported_media_type")


async def test_a_form_without_a_boundary(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "multipart/form-data"}
    response = await client.post(FILES, content=HEAD + b"x" + END, headers=headers)
    assert_error(response, 400, "invalid_value")


async def test_sizes(connect: Connect, tmp_path: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield HEAD
        for _ in range(40):
            yield bytes(2**16)

    settings = Settings(files_dir=tmp_path, max_media_mb=1, max_body_mb=3, max_files_gb=1.5 / 1024)
    async with connect(settings) as client:
        response = await client.post(FILES, content=chunks(), headers=FORM)
        assert_error(response, 400, "media_too_large", "file")
        full = bytes(2**20)
        await put(client, full)
        for data, status, code in (
            (full + b"x", 400, "media_too_large"),
            (full, 413, "file_quota_exceeded"),
        ):
            response = await client.post(FILES, files={"file": data})
            assert_error(response, status, code, "file")
        response = await client.post(FILES, files={"file": full * 3})
        assert_error(response, 413, "request_too_large")
        assert len(list(tmp_path.iterdir())) == 2


async def test_a_body_is_bounded_in_any_field(connect: Connect, tmp_path: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"--B\r\n"
        for _ in range(40):
            yield bytes(2**16)

    async with connect(Settings(files_dir=tmp_path, max_body_mb=1)) as client:
        response = await client.post(FILES, content=chunks(), headers=FORM)
        assert response.status_code in (400, 413)
    assert list(tmp_path.iterdir()) == []


async def test_a_sender_who_stalls(connect: Connect, tmp_path: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield HEAD + b"abc"
        await asyncio.sleep(10)

    async with connect(Settings(files_dir=tmp_path, body_timeout_s=0.05)) as client:
        response = await client.post(FILES, content=chunks(), headers=FORM)
        assert_error(response, 408, "request_timeout")
    assert list(tmp_path.iterdir()) == []


async def test_owners(connect: Connect) -> None:
    async with connect(Settings(api_key="first, second")) as client:
        mine, other = ({"authorization": f"Bearer {key}"} for key in ("first", "second"))
        assert_error(await client.post(FILES, files={"file": b"x"}), 401, "invalid_api_key")
        file = (await client.post(FILES, files={"file": b"x"}, headers=mine)).json()
        path = f"{FILES}/{file['id']}"
        for method, end in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
            response = await client.request(method, path + end, headers=other)
            assert_error(response, 404, "file_not_found")
        assert (await client.get(FILES, headers=other)).json()["data"] == []
        assert (await client.get(path, headers=mine)).json() == file
        part = {"type": "image_url", "image_url": {"file_id": file["id"]}}
        body = {"messages": [{"role": "user", "content": [part]}]}
        place = "messages[0].content[0].image_url"
        response = await client.post("/v1/chat/completions", json=body, headers=other)
        assert_error(response, 404, "file_not_found", f"{place}.file_id")
        response = await client.post("/v1/chat/completions", json=body, headers=mine)
        assert_error(response, 400, "invalid_media", place)


async def test_quotas_of_keys(connect: Connect) -> None:
    settings = Settings(api_key="first, second", max_files_gb_per_key=1 / 1024)
    async with connect(settings) as client:
        for key, statuses in (("first", (200, 413)), ("second", (200, 413))):
            headers = {"authorization": f"Bearer {key}"}
            for status in statuses:
                data = {"file": bytes(2**20 - 5)}
                response = await client.post(FILES, files=data, headers=headers)
                assert response.status_code == status


async def test_files_outlive_a_server(connect: Connect, tmp_path: Path) -> None:
    settings = Settings(files_dir=tmp_path)
    async with connect(settings) as client:
        file = await put(client)
    async with connect(settings) as client:
        assert (await client.get(f"{FILES}/{file['id']}")).json() == file
        assert (await client.get(f"{FILES}/{file['id']}/content")).content == b"abc"


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def test_a_sender_who_goes_away(
    engine: ScriptedEngine, served_model: ServedModel, tmp_path: Path
) -> None:
    settings = Settings(files_dir=tmp_path)
    with serving(settings, lambda: Serving(engine, served_model)) as url:
        with socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0)) as connection:
            head = "POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: 9000000\r\n"
            kind = f"content-type: {FORM['content-type']}\r\n\r\n"
            connection.sendall((head + kind).encode() + HEAD + bytes(2**21))
            wait_until(lambda: any(path.stat().st_size for path in tmp_path.iterdir()))
        wait_until(lambda: not list(tmp_path.iterdir()))


MEDIA = {
    "image_url": ("red_car.png", {}),
    "video_url": ("train.mp4", {}),
    "audio_url": ("frog.wav", {}),
    "depth_url": ("boat.depth.png", {"scale": 0.002}),
    "thermal_url": ("dog.thermal.png", {}),
    "imu_url": ("bell.imu.csv", {"sample_rate": 100}),
    "file": ("frog.wav", {}),
}


@pytest.mark.parametrize("kind", MEDIA)
def test_an_upload_is_the_same_medium(live: httpx.Client, kind: str) -> None:
    name, options = MEDIA[kind]
    data = (SAMPLES / name).read_bytes()
    file = live.post(FILES, files={"file": (name, data)}).json()
    url = "data:;base64," + base64.b64encode(data).decode()
    sources = ({"file_data" if kind == "file" else "url": url}, {"file_id": file["id"]})
    answers, vectors = [], []
    for source in sources:
        content = [{"type": kind, kind: source | options}]
        chat = {
            "messages": [{"role": "user", "content": [*content, {"type": "text", "text": "?"}]}],
            "temperature": 0,
            "max_tokens": 8,
            "logprobs": True,
        }
        answers.append(live.post("/v1/chat/completions", json=chat).json())
        body = {"input": [{"content": content}]}
        vectors.append(live.post("/v1/embeddings", json=body).json()["data"])
    assert answers[0]["choices"] == answers[1]["choices"]
    assert answers[0]["usage"]["prompt_tokens"] == answers[1]["usage"]["prompt_tokens"]
    assert vectors[0] == vectors[1]


def test_exactly_one_source(live: httpx.Client) -> None:
    file = live.post(FILES, files={"file": (SAMPLES / "red_car.png").read_bytes()}).json()
    for source in ({"file_id": file["id"], "url": "sample://red_car.png"}, {}):
        part = {"type": "image_url", "image_url": source}
        body = {"messages": [{"role": "user", "content": [part]}]}
        response = live.post("/v1/chat/completions", json=body)
        assert_error(response, 400, "invalid_value", "messages[0].content[0].image_url")


def test_embeddings_of_what_is_not_there(live: httpx.Client) -> None:
    part = {"type": "audio_url", "audio_url": {"file_id": "file-1"}}
    response = live.post("/v1/embeddings", json={"input": ["a", {"content": [part]}]})
    place = "input[1].content[0].audio_url.file_id"
    assert_error(response, 404, "file_not_found", place)
