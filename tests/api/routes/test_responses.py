"""/v1/responses over the golden model: objects, events, turns, media, tools, what is kept."""

import base64
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pandagpt.engine.request import Delta
from pandagpt.errors import EngineFailure
from pandagpt.settings import Settings
from tests.api.conftest import Connect, ScriptedEngine

RESPONSES = "/v1/responses"
QUESTION = "What is it?"
IMU = "data:;base64," + base64.b64encode(b"1,2,3,4,5,6\n" * 100).decode()
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


def asked(**fields: Any) -> dict[str, Any]:
    return {"input": QUESTION, "temperature": 0, "max_output_tokens": 8, **fields}


def post(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    response = client.post(RESPONSES, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def events(text: str) -> list[dict[str, Any]]:
    *frames, rest = text.split("\n\n")
    assert rest == ""
    read = []
    for frame in frames:
        head, data = frame.split("\n")
        read.append(json.loads(data.removeprefix("data: ")))
        assert head == f"event: {read[-1]['type']}"
    assert [event["sequence_number"] for event in read] == list(range(len(read)))
    return read


def streamed(client: httpx.Client, body: dict[str, Any]) -> list[dict[str, Any]]:
    response = client.post(RESPONSES, json=body | {"stream": True})
    assert response.headers["content-type"].startswith("text/event-stream"), response.text
    return events(response.text)


def refusal(client: httpx.Client, body: dict[str, Any], status: int = 400) -> tuple[str, str]:
    response = client.post(RESPONSES, json=body)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error["code"], error["param"]


def text_of(response: dict[str, Any]) -> str:
    (item,) = response["output"]
    (part,) = item["content"]
    return part["text"]


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [*parts, {"type": "input_text", "text": QUESTION}]}]


def data_url(path: Path) -> str:
    return "data:;base64," + base64.b64encode(path.read_bytes()).decode()


@pytest.fixture
def photo(golden: Path) -> str:
    return data_url(next((golden / "preprocess_io").glob("*.png")))


def fixed(response: dict[str, Any]) -> dict[str, Any]:
    """Without what differs from one response to the next."""
    output = [
        {name: value for name, value in item.items() if name not in ("id", "call_id")}
        for item in response["output"]
    ]
    names = ("id", "created_at", "completed_at", "usage")
    rest = {name: value for name, value in response.items() if name not in names}
    return rest | {"output": output}


def test_the_object(live: httpx.Client) -> None:
    response = post(live, asked(ignore_eos=True, metadata={"a": "b"}, user="me"))
    assert response["id"].startswith("resp_")
    assert response["object"] == "response"
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["error"] is None
    assert response["metadata"] == {"a": "b"}
    assert response["user"] == "me"
    assert response["max_output_tokens"] == 8
    assert (response["temperature"], response["top_p"]) == (0, 1)
    assert response["text"] == {"format": {"type": "text"}}
    (item,) = response["output"]
    assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "incomplete")
    (part,) = item["content"]
    assert part.keys() == {"type", "text", "annotations", "logprobs"}
    usage = response["usage"]
    assert usage["output_tokens"] == 8
    assert usage["total_tokens"] == usage["input_tokens"] + 8
    assert usage["input_tokens_details"]["cached_tokens"] >= 0
    assert usage["output_tokens_details"] == {"reasoning_tokens": 0}


async def test_completed(client: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    response = (await client.post(RESPONSES, json={"input": "Hi"})).json()
    assert response["status"] == "completed"
    assert response["incomplete_details"] is None
    assert response["completed_at"] >= response["created_at"]
    assert text_of(response) == "Hi."
    assert engine.requests[0].params.temperature == 1


def test_events(live: httpx.Client) -> None:
    whole = post(live, asked(ignore_eos=True))
    stream = streamed(live, asked(ignore_eos=True))
    kinds = [event["type"].removeprefix("response.") for event in stream]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert set(kinds[4:-4]) == {"output_text.delta"}
    assert kinds[-4:] == [
        *("output_text.done", "content_part.done", "output_item.done"),
        "incomplete",
    ]
    begun, ended = stream[0]["response"], stream[-1]["response"]
    assert (begun["status"], begun["output"], begun["usage"]) == ("in_progress", [], None)
    assert fixed(ended) == fixed(whole)
    assert begun["id"] == ended["id"]
    deltas = [event for event in stream if event["type"] == "response.output_text.delta"]
    assert "".join(event["delta"] for event in deltas) == text_of(whole)
    assert stream[-4]["text"] == text_of(whole)
    assert stream[-3]["part"] == ended["output"][0]["content"][0]
    assert stream[-2]["item"] == ended["output"][0]
    assert {event["item_id"] for event in deltas} == {ended["output"][0]["id"]}


def test_logprobs(live: httpx.Client) -> None:
    body = asked(include=["message.output_text.logprobs"], top_logprobs=2, ignore_eos=True)
    stream = streamed(live, body)
    (part,) = stream[-1]["response"]["output"][0]["content"]
    assert len(part["logprobs"]) == 8
    assert all(len(entry["top_logprobs"]) == 2 for entry in part["logprobs"])
    deltas = [event for event in stream if event["type"] == "response.output_text.delta"]
    assert [entry for event in deltas for entry in event["logprobs"]] == part["logprobs"]
    assert stream[-4]["logprobs"] == part["logprobs"]


def test_equals_chat_and_completions(live: httpx.Client) -> None:
    sampling = {"temperature": 0, "logprobs": True, "max_tokens": 8}
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]
    chat = live.post("/v1/chat/completions", json={"messages": messages, **sampling}).json()
    prompt = f"Be brief.\n### Human: {QUESTION}\n### Assistant:"
    raw = live.post(
        "/v1/completions",
        json={"prompt": prompt, "temperature": 0, "max_tokens": 8, "logprobs": 0},
    ).json()
    body = asked(instructions="Be brief.", include=["message.output_text.logprobs"])
    response = post(live, body)
    logprobs = response["output"][0]["content"][0]["logprobs"]
    said = [(entry["token"], entry["logprob"]) for entry in logprobs]
    told = chat["choices"][0]["logprobs"]["content"]
    assert said == [(entry["token"], entry["logprob"]) for entry in told]
    legacy = raw["choices"][0]["logprobs"]
    assert said == list(zip(legacy["tokens"], legacy["token_logprobs"], strict=True))
    assert text_of(response) == chat["choices"][0]["message"]["content"]
    counts = {chat["usage"]["prompt_tokens"], raw["usage"]["prompt_tokens"]}
    assert counts == {response["usage"]["input_tokens"]}


def test_turns(live: httpx.Client, photo: str) -> None:
    """A turn that names the one before it equals one that sends everything."""
    picture = {"type": "input_image", "image_url": photo}
    first = post(live, asked(input=user(picture), instructions="Not carried on."))
    second = post(live, asked(input="Why?", previous_response_id=first["id"]))
    third = post(live, asked(input="Really?", previous_response_id=second["id"]))
    assert third["previous_response_id"] == second["id"]
    everything = [
        *user(picture),
        *first["output"],
        {"role": "user", "content": "Why?"},
        *second["output"],
        {"type": "message", "role": "user", "content": "Really?"},
    ]
    alone = post(live, asked(input=everything, store=False))
    assert text_of(third) == text_of(alone)
    assert third["usage"]["input_tokens"] == alone["usage"]["input_tokens"]
    assert third["usage"]["input_tokens_details"]["multimodal_tokens"] == {"image": 1}


def test_references(live: httpx.Client) -> None:
    """Clients name items that they have been given, in full or by their id alone."""
    first = post(live, asked())
    (item,) = first["output"]
    why = {"role": "user", "content": "Why?"}
    texts = [
        text_of(post(live, asked(input=[{"role": "user", "content": QUESTION}, said, why])))
        for said in (item, {"type": "item_reference", "id": item["id"]}, {"id": item["id"]})
    ]
    assert texts == [texts[0]] * 3
    unknown = asked(input=[{"type": "item_reference", "id": "msg_x"}, why])
    assert refusal(live, unknown, 404) == ("response_not_found", "input[0].id")


async def test_references_are_bounded_in_what_they_mean(connect: Connect) -> None:
    async with connect(Settings(max_body_mb=1)) as client:
        parts = [{"type": "imu_url", "imu_url": IMU}, {"type": "input_text", "text": QUESTION}]
        first = await client.post(RESPONSES, json={"input": [{"role": "user", "content": parts}]})
        items = await client.get(f"{RESPONSES}/{first.json()['id']}/input_items")
        reference = {"id": items.json()["data"][0]["id"]}
        again = await client.post(RESPONSES, json={"input": [reference] * 2})
        assert again.status_code == 200, again.text
        many = await client.post(RESPONSES, json={"input": [reference] * 2000})
    error = many.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_value", "input")
    assert "named" in error["message"]


def test_kept_and_deleted(live: httpx.Client) -> None:
    response = post(live, asked())
    path = f"{RESPONSES}/{response['id']}"
    assert live.get(path).json() == response
    assert live.get(path, params={"stream": "false"}).json() == response
    cancel = live.post(f"{path}/cancel")
    assert cancel.status_code == 400
    assert live.delete(path).json() == {
        "id": response["id"],
        "object": "response",
        "deleted": True,
    }
    for gone in (live.get(path), live.delete(path), live.post(f"{path}/cancel")):
        assert gone.status_code == 404
        assert gone.json()["error"]["code"] == "response_not_found"
    assert live.get(f"{path}/input_items").status_code == 404
    follow = asked(previous_response_id=response["id"])
    assert refusal(live, follow, 404) == ("response_not_found", "previous_response_id")
    passing = post(live, asked(store=False))
    assert live.get(f"{RESPONSES}/{passing['id']}").status_code == 404


def test_streamed_answers_are_kept(live: httpx.Client) -> None:
    ended = streamed(live, asked())[-1]["response"]
    assert live.get(f"{RESPONSES}/{ended['id']}").json() == ended


def test_input_items(live: httpx.Client, photo: str) -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c1", "output": "rain"}
    items = [*user({"type": "input_image", "image_url": photo}), call, result]
    path = f"{RESPONSES}/{post(live, asked(input=items))['id']}/input_items"
    listed = live.get(path, params={"order": "asc"}).json()
    assert listed["object"] == "list"
    message, called, told = listed["data"]
    assert message["content"][0] == {
        "type": "input_image",
        "image_url": photo,
        "detail": "auto",
    }
    assert message["content"][1] == {"type": "input_text", "text": QUESTION}
    assert called.items() >= call.items()
    assert told["output"] == [{"type": "input_text", "text": "rain"}]
    ids = [item["id"] for item in listed["data"]]
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == (ids[0], ids[2], False)
    assert [item["id"] for item in live.get(path).json()["data"]] == ids[::-1]
    page = live.get(path, params={"order": "asc", "after": ids[0], "limit": 1}).json()
    assert ([item["id"] for item in page["data"]], page["has_more"]) == ([ids[1]], True)
    for query in ({"limit": "0"}, {"limit": "x"}, {"order": "up"}, {"after": "nothing"}):
        response = live.get(path, params=query)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == next(iter(query))


@pytest.mark.parametrize(
    "query", [{"stream": "true"}, {"starting_after": "1"}], ids=lambda query: next(iter(query))
)
def test_a_kept_answer_is_not_streamed(live: httpx.Client, query: dict[str, str]) -> None:
    response = live.get(f"{RESPONSES}/{post(live, asked())['id']}", params=query)
    assert response.json()["error"]["code"] == "unsupported_value"
    assert response.json()["error"]["param"] == next(iter(query))


def test_media_forms_agree(live: httpx.Client, photo: str) -> None:
    forms: list[dict[str, Any]] = [
        {"type": "input_image", "image_url": photo},
        {"type": "input_image", "image_url": photo, "detail": "high"},
        {"type": "image_url", "image_url": {"url": photo}},
        {"type": "input_file", "file_data": photo, "filename": "a.png"},
        {"type": "input_file", "file_url": photo},
        {"type": "input_file", "file_data": photo.partition(",")[2], "modality": "image"},
    ]
    answers = [post(live, asked(input=user(form), top_logprobs=1)) for form in forms]
    assert len({json.dumps(fixed(answer)["output"]) for answer in answers}) == 1
    usage = [answer["usage"]["input_tokens_details"]["multimodal_tokens"] for answer in answers]
    assert usage == [{"image": 1}] * len(forms)


def test_sounds_and_fusion(live: httpx.Client, golden: Path, photo: str) -> None:
    sound = data_url(next((golden / "preprocess_io").glob("*.wav")))
    audio = {"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}}
    url = {"type": "audio_url", "audio_url": {"url": sound}}
    picture = {"type": "input_image", "image_url": photo}
    one = post(live, asked(input=user(audio)))
    assert text_of(one) == text_of(post(live, asked(input=user(url))))
    fused = post(live, asked(input=user(audio, picture)))
    apart = post(live, asked(input=user(audio, picture), fusion="interleave"))
    assert apart["usage"]["input_tokens"] > fused["usage"]["input_tokens"]


def test_a_call_and_its_result(live: httpx.Client) -> None:
    body = asked(tools=[WEATHER], tool_choice="required", parallel_tool_calls=False)
    body["max_output_tokens"] = 200
    stream = streamed(live, body)
    kinds = [event["type"].removeprefix("response.") for event in stream]
    assert kinds[2] == "output_item.added"
    assert set(kinds[3:-3]) == {"function_call_arguments.delta"}
    assert kinds[-3:] == ["function_call_arguments.done", "output_item.done", "completed"]
    response = stream[-1]["response"]
    (call,) = response["output"]
    assert call["type"] == "function_call"
    assert (call["name"], call["status"]) == ("weather", "completed")
    assert json.loads(call["arguments"])["city"] in ("Rome", "Oslo")
    deltas = [e["delta"] for e in stream if e["type"].endswith("arguments.delta")]
    assert "".join(deltas) == call["arguments"] == stream[-3]["arguments"]
    assert response["tools"] == [WEATHER]
    assert response["tool_choice"] == "required"
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "Rain"}
    follow = asked(input=[result], previous_response_id=response["id"])
    answered = post(live, follow)
    everything = [{"role": "user", "content": QUESTION}, call, result]
    assert text_of(answered) == text_of(post(live, asked(input=everything)))


def test_tool_choices(live: httpx.Client) -> None:
    other = WEATHER | {"name": "time"}
    named = {"type": "function", "name": "time"}
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [named]}
    for choice in (named, allowed):
        body = asked(tools=[WEATHER, other], tool_choice=choice, parallel_tool_calls=False)
        response = post(live, body | {"max_output_tokens": 200})
        assert [item["name"] for item in response["output"]] == ["time"]
        assert response["tool_choice"] == choice
        assert len(response["tools"]) == 2
    response = post(live, asked(tools=[WEATHER], tool_choice="none"))
    assert response["output"][0]["type"] == "message"


def test_a_format(live: httpx.Client) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}},
        "required": ["colour"],
        "additionalProperties": False,
    }
    text = {"format": {"type": "json_schema", "name": "answer", "schema": schema}}
    response = post(live, asked(text=text, max_output_tokens=100))
    assert json.loads(text_of(response))["colour"] in ("red", "blue")
    assert response["status"] == "completed"
    assert response["text"] == text


FUNCTION = {"type": "function", "name": "f"}


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"input": None}, "missing_required_parameter", "input"),
        ({"input": []}, "invalid_value", "input"),
        ({"input": 5}, "invalid_value", "input"),
        ({"input": [5]}, "invalid_value", "input[0]"),
        ({"input": [{}]}, "missing_required_parameter", "input[0].type"),
        ({"input": [{"type": "reasoning"}]}, "unsupported_content_type", "input[0]"),
        ({"input": [{"role": "user"}]}, "missing_required_parameter", "input[0].content"),
        ({"input": [{"role": "tool", "content": "a"}]}, "invalid_value", "input[0].role"),
        (
            {"input": [{"role": "user", "content": [{"type": "video"}]}]},
            "unsupported_content_type",
            "input[0].content[0]",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "invalid_value",
            "input[0].content[0]",
        ),
        (
            {"input": user({"type": "input_image", "image_url": "data:;base64,AAAA"})},
            "invalid_media",
            "input[0].content[0].image_url",
        ),
        (
            {"input": user({"type": "input_image", "image_url": "https://a.org/b.png"})},
            "media_url_not_allowed",
            "input[0].content[0].image_url",
        ),
        (
            {"input": user({"type": "input_file", "file_data": "AAAA"})},
            "invalid_media",
            "input[0].content[0].file_data",
        ),
        (
            {"input": user({"type": "input_file", "file_url": "file:///etc/passwd"})},
            "media_url_not_allowed",
            "input[0].content[0].file_url",
        ),
        (
            {"input": [{"role": "system", "content": [{"type": "image_url", "image_url": "x"}]}]},
            "unsupported_content_type",
            "input[0].content[0]",
        ),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]},
            "invalid_value",
            "input[0].call_id",
        ),
        ({"input": "a" * 10**6}, "context_length_exceeded", "input"),
        ({"tools": [{"type": "web_search"}]}, "unsupported_value", "tools[0].type"),
        ({"tools": [FUNCTION, FUNCTION]}, "invalid_value", "tools"),
        (
            {"tools": [FUNCTION | {"parameters": {"type": "nothing"}}]},
            "invalid_schema",
            "tools[0].parameters",
        ),
        ({"tool_choice": "required"}, "invalid_value", "tool_choice"),
        ({"tool_choice": FUNCTION}, "invalid_value", "tool_choice"),
        ({"tool_choice": {"type": "mcp"}}, "unsupported_value", "tool_choice.type"),
        ({"text": {"format": {"type": "json_schema"}}}, "invalid_value", "text.format"),
        (
            {"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "x"}}}},
            "invalid_schema",
            "text.format.schema",
        ),
        ({"max_output_tokens": 0}, "invalid_value", "max_output_tokens"),
        ({"max_output_tokens": 10**9}, "invalid_value", "max_output_tokens"),
        ({"top_logprobs": 21}, "invalid_value", "top_logprobs"),
        ({"truncation": "auto"}, "unsupported_value", "truncation"),
        ({"include": ["everything"]}, "invalid_value", "include[0]"),
        ({"metadata": {"a": 1}}, "invalid_value", "metadata.a"),
        ({"stream_options": {"include_obfuscation": False}}, "invalid_value", "stream_options"),
        ({"logit_bias": {"999999": 1}}, "invalid_value", "logit_bias"),
    ],
)
def test_refusals(live: httpx.Client, fields: dict[str, Any], code: str, param: str) -> None:
    assert refusal(live, asked(**fields)) == (code, param)


def test_media_of_an_earlier_turn_are_named_as_such(live: httpx.Client, photo: str) -> None:
    parts = [{"type": "input_image", "image_url": photo}] * 20
    first = post(live, asked(input=user(*parts)))
    body = asked(input=user(*parts), previous_response_id=first["id"])
    assert refusal(live, body) == ("invalid_value", "input")


async def test_other_models(client: httpx.AsyncClient) -> None:
    response = await client.post(RESPONSES, json={"input": "Hi", "model": "gpt-7"})
    assert response.status_code == 404
    assert response.json()["error"]["param"] == "model"


async def test_an_engine_that_fails(client: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    engine.script = [Delta(0, "Hi", (1,)), EngineFailure("row 7")]
    response = await client.post(RESPONSES, json={"input": "Hi"})
    assert response.status_code == 500
    stream = events((await client.post(RESPONSES, json={"input": "Hi", "stream": True})).text)
    assert stream[-1]["type"] == "response.failed"
    failed = stream[-1]["response"]
    assert (failed["status"], failed["error"]["code"]) == ("failed", "server_error")
    assert "row 7" not in failed["error"]["message"]
    assert (await client.get(f"{RESPONSES}/{failed['id']}")).status_code == 404


async def test_callers_see_only_their_own(connect: Connect) -> None:
    mine, other = ({"authorization": f"Bearer {key}"} for key in ("first", "second"))
    async with connect(Settings(api_key="first, second")) as client:
        response = await client.post(RESPONSES, json={"input": "Hi"}, headers=mine)
        path = f"{RESPONSES}/{response.json()['id']}"
        assert (await client.get(path, headers=mine)).status_code == 200
        for answer in (
            await client.get(path, headers=other),
            await client.delete(path, headers=other),
            await client.get(f"{path}/input_items", headers=other),
        ):
            assert answer.status_code == 404
        follow = {"input": "Hi", "previous_response_id": response.json()["id"]}
        assert (await client.post(RESPONSES, json=follow, headers=other)).status_code == 404


async def test_what_can_never_be_kept_is_refused(connect: Connect, engine: ScriptedEngine) -> None:
    settings = Settings(max_responses_mb=1, max_media_mb=1)
    part = {"type": "input_image", "image_url": "data:;base64," + "A" * 2**20}
    async with connect(settings) as client:
        response = await client.post(RESPONSES, json={"input": user(part)})
        assert (response.status_code, response.json()["error"]["param"]) == (400, "store")
        response = await client.post(RESPONSES, json={"input": user(part), "store": False})
        assert response.json()["error"]["param"] == "input[0].content[0].image_url"
    assert engine.requests == []


async def test_a_body_of_unknown_length(client: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncGenerator[bytes]:
        yield json.dumps({"input": "Hi"}).encode()

    response = await client.post(RESPONSES, content=pieces())
    assert (await client.get(f"{RESPONSES}/{response.json()['id']}")).json() == response.json()


def test_uploads(live: httpx.Client, golden: Path) -> None:
    path = next((golden / "preprocess_io").glob("*.png"))
    file_id = live.post("/v1/files", files={"file": path.read_bytes()}).json()["id"]
    inline = post(live, asked(input=user({"type": "input_image", "image_url": data_url(path)})))
    for form in (
        {"type": "input_image", "file_id": file_id},
        {"type": "input_file", "file_id": file_id},
    ):
        assert text_of(post(live, asked(input=user(form)))) == text_of(inline)
        unknown = asked(input=user(form | {"file_id": "file-0"}))
        expected = ("file_not_found", "input[0].content[0].file_id")
        assert refusal(live, unknown, 404) == expected
