"""/v1/chat/completions over the golden model: shapes, equality, limits, hostile input."""

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

CHAT = "/v1/chat/completions"
QUESTIONS = [f"{'Why? ' * (i % 5)}What is number {i}?" for i in range(32)]


def ask(text: str = "What is it?", **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"messages": messages, "temperature": 0, "max_tokens": 12, **fields}


def data_url(path: Path) -> str:
    return "data:;base64," + base64.b64encode(path.read_bytes()).decode()


def media_message(*parts: dict[str, Any], text: str = "What is it?") -> list[dict[str, Any]]:
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


@pytest.fixture
def photo(golden: Path) -> dict[str, Any]:
    path = next((golden / "preprocess_io").glob("*.png"))
    return {"type": "image_url", "image_url": {"url": data_url(path)}}


@pytest.fixture
def sound(golden: Path) -> dict[str, Any]:
    path = next((golden / "preprocess_io").glob("*.wav"))
    data = base64.b64encode(path.read_bytes()).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def post(live: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    response = live.post(CHAT, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def refusal(live: httpx.Client, body: dict[str, Any]) -> tuple[str, str]:
    response = live.post(CHAT, json=body)
    assert response.status_code == 400, response.text
    return response.json()["error"]["code"], response.json()["error"]["param"]


def chunks(live: httpx.Client, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    with live.stream("POST", CHAT, json=body | {"stream": True}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-accel-buffering"] == "no"
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    for line in lines[:-1]:
        yield json.loads(line.removeprefix("data: "))


def text_of(stream: list[dict[str, Any]], index: int = 0) -> str:
    choices = [c for chunk in stream for c in chunk["choices"] if c["index"] == index]
    return "".join(choice["delta"].get("content", "") for choice in choices)


def test_a_whole_answer(live: httpx.Client) -> None:
    answer = post(live, ask(model="golden"))
    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    assert answer["model"] == "golden"
    (choice,) = answer["choices"]
    assert choice["index"] == 0
    assert choice["message"].keys() == {"role", "content", "refusal"}
    assert choice["message"]["role"] == "assistant"
    assert choice["logprobs"] is None
    assert choice["finish_reason"] in ("stop", "length")
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert 0 < usage["completion_tokens"] <= 12


def test_a_streamed_answer(live: httpx.Client) -> None:
    stream = list(chunks(live, ask(stream_options={"include_usage": True})))
    first, *middle, finish, usage = stream
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert finish["choices"][0]["delta"] == {}
    assert finish["choices"][0]["finish_reason"] in ("stop", "length")
    assert all(c["choices"][0]["finish_reason"] is None for c in [first, *middle])
    assert all(chunk["usage"] is None for chunk in stream[:-1])
    assert usage["choices"] == []
    whole = post(live, ask())
    assert usage["usage"] == whole["usage"]
    assert text_of(stream) == whole["choices"][0]["message"]["content"]
    assert len({(c["id"], c["created"], c["model"], c["object"]) for c in stream}) == 1


def test_usage_in_streams(live: httpx.Client) -> None:
    assert all("usage" not in chunk for chunk in chunks(live, ask()))
    options = {"include_usage": True, "continuous_usage_stats": True}
    counts = [c["usage"]["completion_tokens"] for c in chunks(live, ask(stream_options=options))]
    assert counts == sorted(counts)
    assert counts[-1] == post(live, ask())["usage"]["completion_tokens"]


def test_stream_options_need_a_stream(live: httpx.Client) -> None:
    wrong = ask(stream_options={"include_usage": True})
    assert refusal(live, wrong) == ("invalid_value", "stream_options")


@pytest.mark.parametrize("fusion", ["sum", "interleave"])
def test_media_usage(
    live: httpx.Client, photo: dict[str, Any], sound: dict[str, Any], fusion: str
) -> None:
    body = ask(messages=media_message(photo, photo, sound), fusion=fusion)
    usage = post(live, body)["usage"]
    details = usage["prompt_tokens_details"]
    images = 1 if fusion == "sum" else 2
    assert details["multimodal_tokens"] == {"audio": 1, "image": images}
    assert (details["image_tokens"], details["audio_tokens"]) == (images, 1)


def test_order_of_media_has_no_effect_in_a_sum(
    live: httpx.Client, photo: dict[str, Any], sound: dict[str, Any]
) -> None:
    one, other = (
        post(live, ask(messages=media_message(*parts)))["choices"]
        for parts in ((photo, sound), (sound, photo))
    )
    assert one == other


def test_a_medium_changes_the_answer(live: httpx.Client, photo: dict[str, Any]) -> None:
    """Random weights, so only that it is heard at all: logprobs differ."""
    plain = post(live, ask(logprobs=True))
    seen = post(live, ask(messages=media_message(photo), logprobs=True))
    assert plain["choices"][0]["logprobs"] != seen["choices"][0]["logprobs"]


def test_every_source_of_the_same_bytes_is_the_same_medium(
    live: httpx.Client, photo: dict[str, Any]
) -> None:
    url = photo["image_url"]["url"]
    forms = [
        photo,
        {"type": "image_url", "image_url": url},
        {"type": "image_url", "image_url": {"url": url.replace("data:", "data:image/png;a=b")}},
        {"type": "image_url", "image_url": {"url": url.replace("data:", "DATA:text/plain")}},
        {"type": "file", "file": {"file_data": url}},
        {"type": "file", "file": {"file_data": url.partition(",")[2], "filename": "../x"}},
        {"type": "file", "file": {"file_data": url, "modality": "image"}},
    ]
    answers = [post(live, ask(messages=media_message(form), logprobs=True)) for form in forms]
    assert len({json.dumps(answer["choices"]) for answer in answers}) == 1


def test_imu_forms_agree(live: httpx.Client) -> None:
    rows = [[0.01 * i, 0.5, 9.81, 0.0, -0.02 * i, 0.1] for i in range(300)]
    csv = "ax,ay,az,gx,gy,gz\n" + "\n".join(",".join(map(str, row)) for row in rows)
    texts = {"csv": csv, "json": json.dumps(rows)}
    parts = [
        {
            "type": "input_imu",
            "input_imu": {
                "data": base64.b64encode(text.encode()).decode(),
                "format": form,
                "sample_rate": 100,
            },
        }
        for form, text in texts.items()
    ]
    answers = [post(live, ask(messages=media_message(part), logprobs=True)) for part in parts]
    assert answers[0]["choices"] == answers[1]["choices"]
    details = answers[0]["usage"]["prompt_tokens_details"]
    assert details["multimodal_tokens"] == {"imu": 1}


def test_choices(live: httpx.Client) -> None:
    body = ask(n=3, temperature=1, seed=7)
    whole = post(live, body)
    texts = [choice["message"]["content"] for choice in whole["choices"]]
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
    assert len(set(texts)) > 1
    assert whole["usage"]["completion_tokens"] > 12
    stream = list(chunks(live, body))
    assert [text_of(stream, index) for index in range(3)] == texts
    finishes = [c for chunk in stream for c in chunk["choices"] if c["finish_reason"]]
    assert sorted(choice["index"] for choice in finishes) == [0, 1, 2]


def test_seeds(live: httpx.Client) -> None:
    texts = [
        post(live, ask(temperature=1, seed=seed))["choices"][0]["message"]["content"]
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_stop(live: httpx.Client) -> None:
    text = post(live, ask())["choices"][0]["message"]["content"]
    stop = text[3:5]
    answer = post(live, ask(stop=[stop, "never to be seen"]))
    (choice,) = answer["choices"]
    assert choice["message"]["content"] == text[: text.index(stop)]
    assert choice["finish_reason"] == "stop"
    assert text_of(list(chunks(live, ask(stop=stop)))) == choice["message"]["content"]
    shown = post(live, ask(stop=stop, include_stop_str_in_output=True))
    assert shown["choices"][0]["message"]["content"].endswith(stop)


def test_logprobs(live: httpx.Client) -> None:
    (choice,) = post(live, ask(logprobs=True, top_logprobs=3))["choices"]
    tokens = choice["logprobs"]["content"]
    said = b"".join(bytes(token["bytes"]) for token in tokens).decode(errors="replace")
    assert said.strip() == choice["message"]["content"].strip()
    for token in tokens:
        assert token["logprob"] <= 0
        assert bytes(token["bytes"]).decode(errors="replace") == token["token"]
        assert len(token["top_logprobs"]) == 3
        assert token["top_logprobs"][0]["logprob"] == token["logprob"]
    streamed = [
        token
        for chunk in chunks(live, ask(logprobs=True, top_logprobs=3))
        for c in chunk["choices"]
        if c["logprobs"]
        for token in c["logprobs"]["content"]
    ]
    assert streamed == tokens
    (choice,) = post(live, ask(logprobs=True))["choices"]
    assert choice["logprobs"]["content"][0]["top_logprobs"] == []


def test_length_limits(live: httpx.Client) -> None:
    for field in ("max_tokens", "max_completion_tokens"):
        answer = post(live, ask(ignore_eos=True, max_tokens=None) | {field: 3})
        assert answer["usage"]["completion_tokens"] == 3
        assert answer["choices"][0]["finish_reason"] == "length"
    both = post(live, ask(ignore_eos=True, max_tokens=9, max_completion_tokens=2))
    assert both["usage"]["completion_tokens"] == 2


def test_answers_end_with_the_context(live: httpx.Client) -> None:
    model = live.get("/v1/models").json()["data"][0]
    length = model["max_model_len"]
    for max_tokens in (None, length):
        answer = post(live, ask(ignore_eos=True, max_tokens=max_tokens))
        assert answer["usage"]["total_tokens"] == length
    over = ask(max_tokens=length + 1)
    assert refusal(live, over) == ("invalid_value", "max_tokens")
    assert refusal(live, ask(min_tokens=13)) == ("invalid_value", "min_tokens")


def test_token_ids_are_of_the_model(live: httpx.Client) -> None:
    assert refusal(live, ask(logit_bias={"999999": 1})) == ("invalid_value", "logit_bias")
    assert refusal(live, ask(stop_token_ids=[999999])) == ("invalid_value", "stop_token_ids")
    assert refusal(live, ask(top_logprobs=1)) == ("invalid_value", "top_logprobs")


def test_extremes_of_every_range_are_answered(live: httpx.Client) -> None:
    extremes: list[dict[str, Any]] = [
        {"temperature": 2, "top_p": 0, "top_k": 10**30, "min_p": 1},
        {"temperature": 1e-300, "top_p": 1e-300, "top_k": -1, "repetition_penalty": 0.01},
        {"presence_penalty": -2, "frequency_penalty": 2, "repetition_penalty": 100},
        {"logit_bias": {"5": 100, "0": -100}, "seed": -(2**63), "temperature": 1},
        {"n": 128, "max_tokens": 1, "seed": 2**63 - 1, "temperature": 1},
        {"logprobs": True, "top_logprobs": 20, "logit_bias": {"5": -100.0}},
        {"min_tokens": 12, "stop_token_ids": list(range(100)), "skip_special_tokens": False},
    ]
    for fields in extremes:
        post(live, ask(**fields))


@pytest.mark.parametrize("role", ["system", "developer", "assistant", "tool", "function"])
def test_roles(live: httpx.Client, role: str, photo: dict[str, Any]) -> None:
    user = {"role": "user", "content": "Hello"}
    post(
        live,
        ask(
            messages=[
                {"role": role, "tool_call_id": "c", "content": "Be brief.", "name": "f"},
                user,
            ]
        ),
    )
    wrong = ask(messages=[user, {"role": role, "tool_call_id": "c", "content": [photo]}])
    assert refusal(live, wrong) == ("unsupported_content_type", "messages[1].content[0]")


def test_conversations_with_tool_turns_are_read(live: httpx.Client) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain"},
    ]
    post(live, ask(messages=messages))


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("data:;base64,", "invalid_media"),
        ("data:;base64,!!!!", "invalid_media"),
        ("data:;base64,AAA", "invalid_media"),
        ("data:;base64,AAAA", "invalid_media"),
        ("data:text/plain,hello", "invalid_media"),
        ("data:image/png;base64", "invalid_media"),
        ("data:;base64,ÄÄÄÄ", "invalid_media"),
        ("cat.jpg", "invalid_media"),
        ("/etc/passwd", "invalid_media"),
        ("sample://", "invalid_media"),
        ("sample://nothing.png", "invalid_media"),
        ("sample://../settings.py", "invalid_media"),
        ("sample:///etc/passwd", "invalid_media"),
        ("http://169.254.169.254/latest", "media_url_not_allowed"),
        ("HTTPS://example.org/cat.jpg", "media_url_not_allowed"),
        ("file:///etc/passwd", "media_url_not_allowed"),
        ("FILE:/etc/passwd", "media_url_not_allowed"),
        ("ftp://example.org/cat.jpg", "media_url_not_allowed"),
        ("gopher:x", "media_url_not_allowed"),
    ],
)
@pytest.mark.parametrize("kind", ["image", "audio", "video", "thermal", "depth", "imu"])
def test_sources_that_are_refused(live: httpx.Client, url: str, code: str, kind: str) -> None:
    name = f"{kind}_url"
    body = ask(messages=media_message({"type": name, name: {"url": url}}))
    assert refusal(live, body) == (code, f"messages[0].content[0].{name}")


@pytest.mark.parametrize("kind", ["image", "audio", "video", "thermal", "depth", "imu"])
def test_mislabelled_media(live: httpx.Client, kind: str, golden: Path) -> None:
    """A sound where a picture should be, and the other way round: told apart by content."""
    wrong = "*.png" if kind in ("audio", "video", "imu") else "*.wav"
    url = data_url(next((golden / "preprocess_io").glob(wrong)))
    name = f"{kind}_url"
    body = ask(messages=media_message({"type": name, name: {"url": url}}))
    assert refusal(live, body) == ("invalid_media", f"messages[0].content[0].{name}")


def test_too_many_media(live: httpx.Client, photo: dict[str, Any]) -> None:
    small = {"type": "image_url", "image_url": "data:;base64,AAAA"}
    body = ask(messages=media_message(*[small] * 33))
    assert refusal(live, body) == ("invalid_value", "messages")
    post(live, ask(messages=media_message(*[photo] * 32), fusion="sum", max_tokens=1))


async def test_parallel_streams_equal_sequential_ones(live_url: str) -> None:
    async def stream(client: httpx.AsyncClient, text: str) -> str:
        pieces = []
        async with client.stream("POST", CHAT, json=ask(text, stream=True, max_tokens=24)) as got:
            async for line in got.aiter_lines():
                if line.startswith("data: {"):
                    delta = json.loads(line[6:])["choices"][0]["delta"]
                    pieces.append(delta.get("content", ""))
        return "".join(pieces)

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=live_url, timeout=60, limits=limits) as client:
        alone = [await stream(client, text) for text in QUESTIONS]
        together = await asyncio.gather(*(stream(client, text) for text in QUESTIONS))
    assert together == alone
    assert len(set(alone)) > 1


def test_the_server_is_well_after_all_this(live: httpx.Client) -> None:
    assert live.get("/health").json() == {"status": "ok"}
    post(live, ask())
