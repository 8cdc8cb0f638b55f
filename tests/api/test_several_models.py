"""One server with the base, two adapters and the embedding model: each is asked for by its id."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from pandagpt.cli.loading import load_serving
from pandagpt.errors import CheckpointError, OperatorError
from pandagpt.settings import Settings
from tests.api.conftest import serving
from tests.plain_llama import TEMPLATE, write_folder

PICTURE = {"type": "image_url", "image_url": {"url": "sample://red_car.png"}}
CHAT_MODELS = ("golden", "golden-base", "other")


@pytest.fixture(scope="module")
def url(golden_bundle: Path, other_adapter: Path) -> Iterator[str]:
    settings = Settings(model=str(golden_bundle), threads=1, adapter=(f"other={other_adapter}",))
    with serving(settings, lambda: load_serving(settings)[0]) as url:
        yield url


@pytest.fixture(scope="module")
def other_url(other_bundle: Path) -> Iterator[str]:
    """The second adapter as the only one."""
    settings = Settings(model=str(other_bundle), threads=1)
    with serving(settings, lambda: load_serving(settings)[0]) as url:
        yield url


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


def body(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": "What is it?"}, *parts]
    options = {"temperature": 0, "max_tokens": 16, "ignore_eos": True}
    return {"messages": [{"role": "user", "content": content}], **options, **fields}


def text(http: httpx.Client, asked: dict[str, Any]) -> str:
    response = http.post("/v1/chat/completions", json=asked)
    assert response.status_code == 200, response.text
    assert response.json()["model"] == asked.get("model", "golden")
    return response.json()["choices"][0]["message"]["content"]


def test_all_models_are_listed(http: httpx.Client) -> None:
    cards = {card["id"]: card for card in http.get("/v1/models").json()["data"]}
    assert list(cards) == [*CHAT_MODELS, "golden-embedding"]
    for name, card in cards.items():
        assert http.get(f"/v1/models/{name}").json() == card
        assert card["root"] == name
    parents = {name: card["parent"] for name, card in cards.items()}
    assert [name for name in cards if parents[name] == "golden-base"] == ["golden", "other"]
    assert parents["golden-base"] is parents["golden-embedding"] is None
    assert cards["golden-base"]["modalities"] == ["text"]
    assert cards["other"]["modalities"] == cards["golden"]["modalities"]


def test_each_answers_in_its_own_way(http: httpx.Client) -> None:
    answers = [text(http, body(model=name)) for name in CHAT_MODELS]
    assert len(set(answers)) == 3
    assert text(http, body()) == answers[0]


def test_an_adapter_beside_another_answers_as_it_does_alone(
    http: httpx.Client, other_url: str
) -> None:
    with httpx.Client(base_url=other_url, timeout=60) as alone:
        for parts in ([], [PICTURE]):
            wanted = alone.post("/v1/chat/completions", json=body(*parts)).json()
            got = text(http, body(*parts, model="other"))
            assert got == wanted["choices"][0]["message"]["content"]


async def test_parallel_streams_of_all_models_equal_sequential_answers(
    http: httpx.Client, url: str
) -> None:
    asked = [
        body(*parts, model=name, max_tokens=12 + 4 * number)
        for number in range(3)
        for name in CHAT_MODELS
        for parts in ([], [PICTURE])
        if not (parts and name == "golden-base")
    ]
    expected = [text(http, each) for each in asked]
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as sdk:
        assert await asyncio.gather(*(streamed(sdk, each) for each in asked)) == expected


async def streamed(sdk: openai.AsyncOpenAI, asked: dict[str, Any]) -> str:
    fields = {key: value for key, value in asked.items() if key != "ignore_eos"}
    extra = {"ignore_eos": True}
    stream = await sdk.chat.completions.create(**fields, extra_body=extra, stream=True)
    chunks = [chunk async for chunk in stream]
    assert {chunk.model for chunk in chunks} == {asked["model"]}
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_the_base_reads_text_only(http: httpx.Client) -> None:
    response = http.post("/v1/chat/completions", json=body(PICTURE, model="golden-base"))
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "unsupported_content_type")
    assert error["param"] == "messages[0].content[1].image_url"
    assert "'golden-base' reads text only" in error["message"]


@pytest.mark.parametrize("name", ["golden-bas", "OTHER", "other ", "golden-base/", "../other"])
def test_unknown_models(http: httpx.Client, name: str) -> None:
    response = http.post("/v1/chat/completions", json=body(model=name))
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (
        404,
        "model_not_found",
        "model",
    )
    assert "'golden', 'golden-base', 'other'" in error["message"]


def test_embeddings_are_those_of_all_that_read_media(http: httpx.Client) -> None:
    rows = [
        http.post("/v1/embeddings", json={"input": "a", "model": name}).json()["data"]
        for name in ("golden", "other", "golden-embedding")
    ]
    assert rows[0] == rows[1] == rows[2]
    response = http.post("/v1/embeddings", json={"input": "a", "model": "golden-base"})
    assert response.status_code == 404


def test_the_sdk_finds_them(url: str) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as sdk:
        assert [model.id for model in sdk.models.list()][:3] == list(CHAT_MODELS)
        assert sdk.models.retrieve("golden-base").id == "golden-base"
        with pytest.raises(openai.NotFoundError) as missing:
            sdk.models.retrieve("no")
        assert missing.value.code == "model_not_found"


@pytest.mark.parametrize("name", ["golden", "golden-base", "golden-embedding", "mine"])
def test_two_models_of_one_name_are_refused(
    golden_bundle: Path, other_adapter: Path, name: str
) -> None:
    adapters = (f"mine={other_adapter}", f"{name}={other_adapter}")
    with pytest.raises(OperatorError, match=f"{name}=.*has this name already"):
        load_serving(Settings(model=str(golden_bundle), adapter=adapters))


def test_an_adapter_that_does_not_fit_is_told_at_the_start(
    golden_bundle: Path, tmp_path: Path
) -> None:
    for folder in (str(tmp_path), "tiny"):
        with pytest.raises(CheckpointError, match="holds no adapter"):
            load_serving(Settings(model=str(golden_bundle), adapter=(f"a={folder}",)))
    settings = Settings(model="tiny", threads=1, adapter=(f"a={golden_bundle}",))
    with pytest.raises(CheckpointError, match=r"adapter\.safetensors: 16 tensors are missing"):
        load_serving(settings)


def test_a_plain_llama_has_no_adapters(golden: Path, other_adapter: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "plain", golden / "none", "byte_level", TEMPLATE)
    settings = Settings(model=str(tmp_path / "plain"), adapter=(f"a={other_adapter}",))
    with pytest.raises(OperatorError, match="plain is a plain LLaMA"):
        load_serving(settings)
