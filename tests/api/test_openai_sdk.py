"""OpenAI's own client, unmodified: only its base URL is ours."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from pandagpt.api.source import SAMPLES_DIR
from pandagpt.errors import Overloaded
from tests.api.conftest import Connect, ScriptedEngine

MESSAGES: Any = [{"role": "user", "content": "What is it?"}]


@pytest.fixture
def sdk(live_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{live_url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_chat(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(
        model="golden", messages=MESSAGES, max_tokens=8, temperature=0, logprobs=True
    )
    assert answer.choices[0].message.content
    assert answer.choices[0].logprobs is not None
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 8
    assert answer._request_id


def test_stream(sdk: openai.OpenAI) -> None:
    options: dict[str, Any] = {"model": "golden", "max_tokens": 8, "temperature": 0}
    whole = sdk.chat.completions.create(messages=MESSAGES, **options)
    stream = sdk.chat.completions.create(messages=MESSAGES, stream=True, **options)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == whole.choices[0].message.content


def test_stream_helper(sdk: openai.OpenAI) -> None:
    """It asks that an answer ends by itself, so a stop string is made from the answer."""
    options: dict[str, Any] = {"model": "golden", "max_tokens": 8, "temperature": 0}
    whole = sdk.chat.completions.create(messages=MESSAGES, **options)
    text = whole.choices[0].message.content or ""
    with sdk.chat.completions.stream(messages=MESSAGES, stop=text[4:7], **options) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content == text[:4]


async def test_async(live_url: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{live_url}/v1", api_key="none") as client:
        stream = await client.chat.completions.create(
            model="golden",
            messages=MESSAGES,
            max_tokens=8,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    assert chunks[-1].usage is not None


def test_extras(sdk: openai.OpenAI) -> None:
    sdk.chat.completions.create(
        model="golden",
        messages=MESSAGES,
        max_tokens=2,
        extra_body={"fusion": "interleave", "top_k": 5},
    )


def test_models(sdk: openai.OpenAI) -> None:
    names = [model.id for model in sdk.models.list()]
    assert names == ["golden", "golden-base", "golden-embedding"]
    assert sdk.models.retrieve("golden").owned_by == "pandagpt"


def test_files(sdk: openai.OpenAI) -> None:
    picture = (SAMPLES_DIR / "red_car.png").read_bytes()
    made = [
        sdk.files.create(file=("car.png", picture), purpose="vision"),
        sdk.files.create(
            file=SAMPLES_DIR / "red_car.png",
            purpose="user_data",
            expires_after={"anchor": "created_at", "seconds": 3600},
        ),
    ]
    assert [file.filename for file in made] == ["car.png", "red_car.png"]
    assert (made[1].expires_at or 0) - made[1].created_at == 3600
    assert sdk.files.retrieve(made[0].id) == made[0]
    assert sdk.files.content(made[0].id).read() == picture
    assert [file.id for file in sdk.files.list(limit=1)][:2] == [made[1].id, made[0].id]
    part = {"type": "file", "file": {"file_id": made[0].id}}
    messages: Any = [{"role": "user", "content": [part]}]
    answer = sdk.chat.completions.create(model="golden", messages=messages, max_tokens=2)
    assert answer.usage is not None
    assert all(sdk.files.delete(file.id).deleted for file in made)
    with pytest.raises(openai.NotFoundError) as missing:
        sdk.files.retrieve(made[0].id)
    assert missing.value.code == "file_not_found"


def test_errors(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        sdk.chat.completions.create(model="golden", messages=MESSAGES, temperature=3)
    assert (bad.value.code, bad.value.param) == ("invalid_value", "temperature")
    with pytest.raises(openai.NotFoundError) as missing:
        sdk.chat.completions.create(model="other", messages=MESSAGES)
    assert missing.value.code == "model_not_found"


def test_embeddings(sdk: openai.OpenAI) -> None:
    """The client asks for base64 unless told otherwise; both are the same numbers."""
    wanted: dict[str, Any] = {"model": "golden-embedding", "input": ["a frog", "a car"]}
    rows = sdk.embeddings.create(**wanted).data
    plain = sdk.embeddings.create(**wanted, encoding_format="float").data
    assert [row.index for row in rows] == [0, 1]
    for row, other in zip(rows, plain, strict=True):
        assert row.embedding == pytest.approx(other.embedding, abs=1e-6)


def test_headers(sdk: openai.OpenAI) -> None:
    raw = sdk.chat.completions.with_raw_response.create(
        model="golden", messages=MESSAGES, max_tokens=2, extra_headers={"x-request-id": "mine"}
    )
    assert raw.headers["x-request-id"] == "mine"
    assert json.loads(raw.content)["choices"]


def test_fields_that_change_nothing(sdk: openai.OpenAI) -> None:
    options: dict[str, Any] = {"model": "golden", "max_tokens": 8, "temperature": 0}
    plain = sdk.chat.completions.create(messages=MESSAGES, **options)
    other = sdk.chat.completions.create(
        messages=MESSAGES,
        **options,
        user="me",
        store=True,
        metadata={"a": "b"},
        service_tier="auto",
        reasoning_effort="low",
        verbosity="low",
        parallel_tool_calls=True,
        prompt_cache_key="k",
        safety_identifier="s",
        modalities=["text"],
        response_format={"type": "text"},
    )
    assert other.choices[0].message == plain.choices[0].message


def test_timeout(sdk: openai.OpenAI) -> None:
    impatient = sdk.with_options(timeout=0.001)
    with pytest.raises(openai.APITimeoutError):
        impatient.chat.completions.create(model="golden", messages=MESSAGES)
    assert sdk.chat.completions.create(model="golden", messages=MESSAGES, max_tokens=1)


async def test_overload_is_retried_when_the_server_says(
    connect: Connect, engine: ScriptedEngine
) -> None:
    engine.refusal = Overloaded("The queue is full.", retry_after_seconds=1)

    async def end_of_overload() -> None:
        await asyncio.sleep(0.5)
        engine.refusal = None

    async with connect() as client, asyncio.TaskGroup() as tasks:
        http: Any = client  # The SDK types it as httpx's successor.
        sdk = openai.AsyncOpenAI(base_url="http://test/v1", api_key="none", http_client=http)
        with pytest.raises(openai.InternalServerError) as refused:
            await sdk.with_options(max_retries=0).chat.completions.create(
                model="", messages=MESSAGES
            )
        assert refused.value.response.headers["retry-after"] == "1"
        assert refused.value.code == "server_overloaded"
        tasks.create_task(end_of_overload())
        begun = time.monotonic()
        answer = await sdk.chat.completions.create(model="", messages=MESSAGES)
    assert answer.choices[0].message.content == "Hi."
    assert 1 <= time.monotonic() - begun < 3
