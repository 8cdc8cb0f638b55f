"""LangChain's OpenAI classes, unmodified, against the bundled model."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr

SAMPLES = Path(__file__).parents[2] / "server" / "pandagpt" / "samples"
KEY = SecretStr("none")


def sample(name: str) -> str:
    return base64.b64encode((SAMPLES / name).read_bytes()).decode()


PICTURE = {"type": "image", "base64": sample("red_car.png"), "mime_type": "image/png"}
SOUND = {"type": "audio", "base64": sample("frog.wav"), "mime_type": "audio/wav"}
DATA_URL = f"data:image/png;base64,{sample('red_car.png')}"


def question(text: str, medium: dict[str, Any]) -> list[HumanMessage]:
    return [HumanMessage([{"type": "text", "text": text}, medium])]


@pytest.fixture
def chat(tiny_url: str) -> Iterator[ChatOpenAI]:
    with httpx.Client() as client:
        yield ChatOpenAI(
            base_url=f"{tiny_url}/v1",
            api_key=KEY,
            model="pandagpt-tiny",
            temperature=0,
            max_retries=0,
            stream_usage=True,
            http_client=client,
        )


@pytest.mark.parametrize(
    "picture", [PICTURE, {"type": "image_url", "image_url": {"url": DATA_URL}}], ids=["own", "url"]
)
def test_picture(chat: ChatOpenAI, picture: dict[str, Any]) -> None:
    answer = chat.invoke(question("What is this?", picture))
    assert "car" in answer.text
    assert answer.response_metadata["finish_reason"] == "stop"
    usage = answer.usage_metadata
    assert usage
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_streamed_sound(chat: ChatOpenAI) -> None:
    chunks = list(chat.stream(question("What can you hear?", SOUND)))
    assert "frog" in "".join(chunk.text for chunk in chunks)
    (usage,) = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    assert usage.get("input_token_details", {}).get("audio") == 1


async def test_async(tiny_url: str) -> None:
    async with httpx.AsyncClient() as client:
        chat = ChatOpenAI(
            base_url=f"{tiny_url}/v1",
            api_key=KEY,
            model="pandagpt-tiny",
            temperature=0,
            http_async_client=client,
        )
        answer = await chat.ainvoke(question("What can you hear?", SOUND))
        pieces = [piece async for piece in chat.astream(question("What can you hear?", SOUND))]
    assert "frog" in answer.text
    assert "".join(piece.text for piece in pieces) == answer.text


def test_embeddings(tiny_url: str) -> None:
    with httpx.Client() as client:
        embeddings = OpenAIEmbeddings(
            base_url=f"{tiny_url}/v1",
            api_key=KEY,
            model="pandagpt-tiny-embedding",
            check_embedding_ctx_length=False,
            http_client=client,
        )
        rows = embeddings.embed_documents(["a frog", "a car"])
        assert embeddings.embed_query("a car") == pytest.approx(rows[1], abs=1e-6)


def test_a_long_prompt_is_known_as_such(chat: ChatOpenAI) -> None:
    with pytest.raises(ContextOverflowError):
        chat.invoke("frog " * 2000)


class Thing(BaseModel):
    """What is seen."""

    name: Literal["bird", "car", "frog"]
    colour: Literal["red", "green", "blue"]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(chat: ChatOpenAI, method: Any) -> None:
    seen = chat.with_structured_output(Thing, method=method)
    thing = seen.invoke(question("What is this?", PICTURE))
    assert isinstance(thing, Thing)
