"""/tokenize and /detokenize: the count of a chat is the chat's own."""

from typing import Any

import httpx
import pytest

from pandagpt.settings import Settings
from tests.api.conftest import MAX_MODEL_LEN, Connect
from tests.api.test_errors import assert_error

CAR = {"type": "image_url", "image_url": "sample://red_car.png"}
FROG = {"type": "audio_url", "audio_url": "sample://frog.wav"}
CHATS: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "What is it?"}]},
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [CAR, {"type": "text", "text": "And this?"}, FROG]},
            {"role": "assistant", "content": "A car."},
            {"role": "user", "content": [FROG, {"type": "text", "text": "### Human: \u00e9?"}]},
        ]
    },
    {"messages": [{"role": "user", "content": [CAR, FROG, CAR]}], "fusion": "interleave"},
    {"messages": [{"role": "user", "content": "word " * 20}]},
]


@pytest.mark.parametrize("chat", CHATS)
def test_the_count_of_a_chat(live: httpx.Client, chat: dict[str, Any]) -> None:
    answer = live.post("/v1/chat/completions", json=chat | {"max_tokens": 1}).json()
    tokens = live.post("/tokenize", json=chat).json()
    assert tokens.keys() == {"count", "max_model_len", "tokens"}
    assert tokens["count"] == len(tokens["tokens"]) == answer["usage"]["prompt_tokens"]
    card = live.get("/v1/models").json()["data"][0]
    assert tokens["max_model_len"] == card["max_model_len"]


def test_without_the_generation_prompt(live: httpx.Client) -> None:
    whole, bare = (
        live.post("/tokenize", json=CHATS[0] | {"add_generation_prompt": asks}).json()["tokens"]
        for asks in (True, False)
    )
    text = live.post("/detokenize", json={"tokens": bare}).json()["prompt"]
    assert text == "<s> ### Human: What is it?"
    text = live.post("/detokenize", json={"tokens": whole}).json()["prompt"]
    assert text == "<s> ### Human: What is it?\n### Assistant:"


async def test_a_text_and_back(client: httpx.AsyncClient) -> None:
    text = "What is \u00fc, \U0001f43c and </s>?\n"
    body = {"prompt": text, "add_special_tokens": False}
    plain = (await client.post("/tokenize", json=body)).json()
    special = (await client.post("/tokenize", json={"prompt": text})).json()
    assert special["tokens"] == [1, *plain["tokens"]]
    assert (plain["count"], plain["max_model_len"]) == (len(plain["tokens"]), MAX_MODEL_LEN)
    back = (await client.post("/detokenize", json={"tokens": plain["tokens"]})).json()
    assert back == {"prompt": text}
    shown = (await client.post("/detokenize", json={"tokens": special["tokens"]})).json()
    assert shown == {"prompt": f"<s> {text}"}


async def test_pieces_are_shown_if_asked(client: httpx.AsyncClient) -> None:
    body = {"prompt": "Why?", "return_token_strs": True}
    answer = (await client.post("/tokenize", json=body)).json()
    assert len(answer["token_strs"]) == answer["count"]
    assert answer["token_strs"][0] == "<s>"
    assert "".join(answer["token_strs"][1:]) == "\u2581Why?"


async def test_what_is_empty(client: httpx.AsyncClient) -> None:
    assert (await client.post("/tokenize", json={"prompt": ""})).json()["tokens"] == [1]
    assert (await client.post("/detokenize", json={"tokens": []})).json() == {"prompt": ""}


async def test_what_is_longer_than_the_context_is_counted(client: httpx.AsyncClient) -> None:
    text = "no " * MAX_MODEL_LEN
    message = {"role": "user", "content": text}
    for body in ({"prompt": text}, {"messages": [message]}):
        answer = (await client.post("/tokenize", json=body)).json()
        assert answer["count"] > MAX_MODEL_LEN
    endless = "a" * 10_000_000
    for body in ({"prompt": endless}, {"messages": [message | {"content": endless}]}):
        response = await client.post("/tokenize", json=body)
        assert_error(response, 400, "context_length_exceeded", "messages")


@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        ("/tokenize", {}, "missing_required_parameter", "prompt"),
        ("/tokenize", {"messages": []}, "missing_required_parameter", "prompt"),
        ("/tokenize", {"prompt": "a", **CHATS[0]}, "invalid_value", "messages"),
        ("/tokenize", {"prompt": 5}, "invalid_value", "prompt"),
        ("/tokenize", {"prompt": ["a"]}, "invalid_value", "prompt"),
        ("/tokenize", {"prompt": "a", "add_special_tokens": 1}, None, "add_special_tokens"),
        ("/tokenize", {**CHATS[0], "fusion": "x"}, "invalid_value", "fusion"),
        ("/tokenize", {**CHATS[0], "chat_template": "x"}, "unsupported_value", "chat_template"),
        ("/detokenize", {}, "missing_required_parameter", "tokens"),
        ("/detokenize", {"tokens": "1"}, "invalid_value", "tokens"),
        ("/detokenize", {"tokens": [1, -1]}, "invalid_value", "tokens[1]"),
        ("/detokenize", {"tokens": [1, True]}, "invalid_value", "tokens[1]"),
        ("/detokenize", {"tokens": [1, 1.5]}, "invalid_value", "tokens[1]"),
        ("/detokenize", {"tokens": [1, 10**9]}, "invalid_value", "tokens[1]"),
        ("/detokenize", {"tokens": [10**40]}, "invalid_value", "tokens[0]"),
    ],
)
async def test_what_is_refused(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], code: str, param: str | None
) -> None:
    assert_error(await client.post(path, json=body), 400, code or "invalid_value", param)


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize"])
async def test_models_and_keys(connect: Connect, path: str) -> None:
    body = {"prompt": "a", "tokens": [1]}
    async with connect(Settings(api_key="key")) as client:
        assert_error(await client.post(path, json=body), 401, "invalid_api_key")
        client.headers["authorization"] = "Bearer key"
        assert (await client.post(path, json=body)).status_code == 200
        response = await client.post(path, json=body | {"model": "x"})
        assert_error(response, 404, "model_not_found", "model")
