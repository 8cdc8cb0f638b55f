"""Every error over HTTP: status, type, code, the four keys, the request id."""

import json
from typing import Any

import httpx
import pytest

from pandagpt import errors
from pandagpt.api.errors import MAX_MESSAGE_CHARS, PROBLEMS, content_of, problem_of
from pandagpt.engine.request import Delta
from pandagpt.errors import EngineFailure, InvalidMedia, Overloaded, PandaError, RequestError
from pandagpt.settings import Settings
from tests.api.conftest import MAX_MODEL_LEN, MODEL_ID, Connect, ScriptedEngine

CHAT = "/v1/chat/completions"
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}


def assert_error(
    response: httpx.Response, status: int, code: str | None, param: str | None = None
) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    body = response.json()
    assert body.keys() == {"error"}
    error = body["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    kind = "server_error" if status >= 500 else "invalid_request_error"
    kind = "rate_limit_error" if status == 429 else kind
    assert (error["type"], error["code"], error["param"]) == (kind, code, param)
    assert error["message"]
    return error


def every_error() -> list[type[PandaError]]:
    classes = (cls for cls in vars(errors).values() if isinstance(cls, type))
    return [cls for cls in classes if issubclass(cls, PandaError)]


@pytest.mark.parametrize("cls", every_error())
def test_every_class_has_its_place_in_the_table(cls: type[PandaError]) -> None:
    problem = problem_of(cls("x"))
    assert problem.status in (400, 404, 413, 429, 500, 503, 504, 507)
    assert (problem.status < 500) == issubclass(cls, RequestError)
    assert cls in PROBLEMS or cls in (errors.CheckpointError, errors.OperatorError)


def test_messages_are_capped_and_our_own_faults_say_nothing() -> None:
    long = content_of(InvalidMedia("x" * 10_000, "messages"), "req_1")["error"]
    assert len(long["message"]) == MAX_MESSAGE_CHARS
    ours = content_of(EngineFailure("secret detail"), "req_1")["error"]
    assert "secret" not in ours["message"]
    assert "req_1" in ours["message"]


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"[]", "invalid_json", None),
        (b"{}", "missing_required_parameter", "messages"),
        (json.dumps(HELLO | {"temperature": 3}).encode(), "invalid_value", "temperature"),
        (
            json.dumps(HELLO | {"tools": [{}]}).encode(),
            "missing_required_parameter",
            "tools[0].type",
        ),
    ],
)
async def test_bad_bodies(
    client: httpx.AsyncClient, body: bytes, code: str, param: str | None
) -> None:
    response = await client.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert_error(response, 400, code, param)


async def test_json_counts_more_than_its_label(client: httpx.AsyncClient) -> None:
    """`curl -d` says that it sends a form."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    good = await client.post(CHAT, content=json.dumps(HELLO), headers=form)
    assert good.status_code == 200
    bad = await client.post(CHAT, content=b"a=b", headers=form)
    assert_error(bad, 415, "unsupported_media_type")
    unlabelled = await client.post(CHAT, content=json.dumps(HELLO).encode())
    assert unlabelled.status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/nothing", "/health/", "/v1/chat/completions/x", "/%00"]
)
async def test_unknown_paths(client: httpx.AsyncClient, path: str) -> None:
    assert_error(await client.get(path), 404, None)


async def test_wrong_method(client: httpx.AsyncClient) -> None:
    response = await client.get(CHAT)
    assert_error(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


async def test_unknown_model(client: httpx.AsyncClient) -> None:
    response = await client.post(CHAT, json=HELLO | {"model": "gpt-7"})
    error = assert_error(response, 404, "model_not_found", "model")
    assert MODEL_ID in error["message"]
    assert_error(await client.get("/v1/models/org/gpt-7"), 404, "model_not_found", "model")


@pytest.mark.parametrize("stream", [False, True])
async def test_too_long_a_prompt(client: httpx.AsyncClient, stream: bool) -> None:
    text = "a b c d " * MAX_MODEL_LEN
    body = {"messages": [{"role": "user", "content": text}], "stream": stream}
    error = assert_error(
        await client.post(CHAT, json=body), 400, "context_length_exceeded", "messages"
    )
    start = f"This model's maximum context length is {MAX_MODEL_LEN} tokens. However, your messages"
    assert error["message"].startswith(start)
    assert error["message"].endswith("(context_length_exceeded)")


async def test_far_too_long_a_prompt_is_never_tokenised(client: httpx.AsyncClient) -> None:
    body = {"messages": [{"role": "user", "content": "a" * 5_000_000}]}
    response = await client.post(CHAT, json=body)
    error = assert_error(response, 400, "context_length_exceeded", "messages")
    assert "maximum context length is" in error["message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_full_queue(
    client: httpx.AsyncClient, engine: ScriptedEngine, stream: bool
) -> None:
    engine.refusal = Overloaded("The queue is full.", retry_after_seconds=3)
    response = await client.post(CHAT, json=HELLO | {"stream": stream})
    assert_error(response, 503, "server_overloaded")
    assert response.headers["retry-after"] == "3"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_engine_that_fails_before_the_first_token(
    client: httpx.AsyncClient, engine: ScriptedEngine, stream: bool
) -> None:
    engine.script = [EngineFailure("row 7 at 0xdead")]
    response = await client.post(CHAT, json=HELLO | {"stream": stream})
    error = assert_error(response, 500, "internal_error")
    assert "0xdead" not in error["message"]
    assert response.headers["x-request-id"] in error["message"]


async def test_an_engine_that_fails_later(
    client: httpx.AsyncClient, engine: ScriptedEngine
) -> None:
    engine.script = [Delta(0, "Hi", (1,)), EngineFailure("row 7")]
    assert_error(await client.post(CHAT, json=HELLO), 500, "internal_error")
    streamed = await client.post(CHAT, json=HELLO | {"stream": True})
    assert streamed.status_code == 200
    *_, error, done, rest = streamed.text.split("\n\n")
    assert json.loads(error.removeprefix("data: "))["error"]["code"] == "internal_error"
    assert (done, rest) == ("data: [DONE]", "")


async def test_a_crash_is_a_plain_500(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr("pandagpt.api.ask.sampling_params", crash)
    error = assert_error(await client.post(CHAT, json=HELLO), 500, "internal_error")
    assert "secret" not in error["message"]


async def test_a_body_over_the_limit(connect: Connect) -> None:
    async with connect(Settings(max_body_mb=1)) as client:
        declared = await client.post(CHAT, content=b"x" * (2**20 + 1))
        assert_error(declared, 413, "request_too_large")
        assert declared.headers["connection"] == "close"
        at_limit = await client.post(CHAT, content=b" " * 2**20)
        assert at_limit.status_code != 413

        async def chunks() -> Any:
            for _ in range(1025):
                yield b"x" * 1024

        assert_error(await client.post(CHAT, content=chunks()), 413, "request_too_large")


@pytest.mark.parametrize("length", ["-1", "1e3", "٣", "9" * 5000])
async def test_a_length_that_is_no_number(client: httpx.AsyncClient, length: str) -> None:
    headers = httpx.Headers([(b"content-length", length.encode())])
    response = await client.post(CHAT, content=b"{}", headers=headers)
    assert_error(response, 413, "request_too_large")


async def test_keys(connect: Connect) -> None:
    async with connect(Settings(api_key="first, second")) as client:
        for headers in (
            {},
            {"authorization": ""},
            {"authorization": "Bearer"},
            {"authorization": "Bearer wrong"},
            {"authorization": "Bearer first, second"},
            {"authorization": "Basic first"},
            {"authorization": "first"},
        ):
            response = await client.get("/v1/models", headers=headers)
            assert_error(response, 401, "invalid_api_key")
            assert response.headers["www-authenticate"] == "Bearer"
        for key in ("first", "second"):
            headers = {"authorization": f"Bearer {key}"}
            assert (await client.get("/v1/models", headers=headers)).status_code == 200
        assert (await client.get("/health")).status_code == 200
        assert_error(await client.get("/v1/nothing"), 401, "invalid_api_key")


@pytest.mark.parametrize(
    ("given", "kept"),
    [("my-id_1.2", True), ("a" * 128, True), ("a" * 129, False), ("a b", False), ("", False)],
)
async def test_request_ids(client: httpx.AsyncClient, given: str, kept: bool) -> None:
    for path in ("/health", "/nothing"):
        response = await client.get(path, headers={"x-request-id": given})
        assert (response.headers["x-request-id"] == given) is kept
        assert kept or response.headers["x-request-id"].startswith("req_")


async def test_callers_with_other_keys_share_no_cache(
    connect: Connect, engine: ScriptedEngine
) -> None:
    async with connect(Settings(api_key="first, second")) as client:
        for key in ("first", "second", "first"):
            headers = {"authorization": f"Bearer {key}"}
            response = await client.post(CHAT, json=HELLO, headers=headers)
            assert response.status_code == 200
    salts = [request.cache_salt for request in engine.requests]
    assert salts[0] == salts[2] != salts[1]
    assert not any(key in salt for salt in salts for key in ("first", "second"))


async def test_without_keys_all_are_one_caller(
    client: httpx.AsyncClient, engine: ScriptedEngine
) -> None:
    await client.post(CHAT, json=HELLO)
    assert [request.cache_salt for request in engine.requests] == [""]
