"""The OpenAPI document: what it says holds on a live server, and every example runs."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import jsonschema_rs
import pytest

from pandagpt.api.app import create_app
from pandagpt.api.serving import Serving
from pandagpt.media.decoder import DecoderPool
from pandagpt.media.limits import MediaLimits
from pandagpt.settings import Settings
from tests.api.conftest import Connect, unexpected


def _not_loaded() -> Serving:
    raise AssertionError


DOCUMENT: dict[str, Any] = create_app(
    Settings(), _not_loaded, unexpected, DecoderPool(MediaLimits(), num_decoders=1)
).openapi()


@dataclass(frozen=True)
class Example:
    path: str
    operation: dict[str, Any]
    body: dict[str, Any]

    @property
    def answer(self) -> dict[str, Any]:
        """What the document says of a good answer, by its content type."""
        return self.operation["responses"]["200"]["content"]


def validate(schema: dict[str, Any], data: Any) -> None:
    jsonschema_rs.validate({"components": DOCUMENT["components"], **schema}, data)


def examples() -> Iterator[Any]:
    for path, operations in DOCUMENT["paths"].items():
        for operation in operations.values():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            for name, example in content["examples"].items() if content else ():
                yield pytest.param(Example(path, operation, example["value"]), id=name)


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/v1/files/{file_id}/content", "application/octet-stream"),
        ("/v1/files/{file_id}", "application/json"),
        ("/metrics", "text/plain"),
    ],
)
def test_an_answer_has_its_content_type_alone(path: str, content_type: str) -> None:
    answer = DOCUMENT["paths"][path]["get"]["responses"]["200"]["content"]
    assert list(answer) == [content_type]


@pytest.mark.parametrize("example", list(examples()))
def test_example_runs(live: httpx.Client, example: Example) -> None:
    response = live.post(example.path, json=example.body)
    assert response.status_code == 200, response.text
    if not example.body.get("stream"):
        validate(example.answer["application/json"]["schema"], response.json())
        return
    schema = example.answer["text/event-stream"]["itemSchema"]["properties"]["data"]
    events = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    for event in events:
        validate(schema, event)
    chunk, _ = schema["anyOf"][1]["contentSchema"]["anyOf"]
    for event in events[:-1]:
        validate(chunk, json.loads(event))


def test_every_json_body_has_an_example() -> None:
    bodies = [
        operation["requestBody"]["content"]["application/json"]
        for operations in DOCUMENT["paths"].values()
        for operation in operations.values()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    ]
    assert bodies
    assert all(body["examples"] for body in bodies)


def test_every_field_of_a_body_is_described() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    requests = {name: schema for name, schema in schemas.items() if name.endswith("Request")}
    assert "ChatRequest" in requests
    bare = [
        f"{name}.{field}"
        for name, schema in requests.items()
        for field, about in schema["properties"].items()
        if "description" not in about
    ]
    assert not bare, "say what they mean in api/schemas/descriptions.py"


def test_texts_and_null_are_told_where_they_are_taken() -> None:
    fields = DOCUMENT["components"]["schemas"]["ChatRequest"]["properties"]
    for value in (None, "###", ["a", "b"]):
        validate(fields["stop"], value)
    with pytest.raises(jsonschema_rs.ValidationError):
        validate(fields["temperature"], 3)


async def test_keys_are_told(connect: Connect) -> None:
    assert "securitySchemes" not in DOCUMENT["components"]
    async with connect(Settings(api_key="secret")) as client:
        told = (await client.get("/openapi.json")).json()
    assert told["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}
    chat = told["paths"]["/v1/chat/completions"]["post"]
    assert chat["security"] == [{"key": []}]
    assert "401" in chat["responses"]
    assert "security" not in told["paths"]["/health"]["get"]


async def test_the_page_loads_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "openapi.json" in page.text
    assert "//" not in page.text.replace("// Text", "")
