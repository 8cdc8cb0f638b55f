"""One line a request, with what an operator needs and nothing of what was said."""

from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from pandagpt.settings import Settings
from tests.api.conftest import Connect
from tests.api.test_errors import CHAT


async def posted(client: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    with capture_logs() as lines:
        await client.post(CHAT, json=body, headers={"x-request-id": "mine"})
    (line,) = [line for line in lines if line["event"] == "request"]
    return dict(line)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer(client: httpx.AsyncClient, stream: bool) -> None:
    body = {"messages": [{"role": "user", "content": "SECRET"}], "stream": stream}
    line = await posted(client, body)
    assert line["request_id"] == "mine"
    assert line["status"] == 200
    assert line["model"] == "scripted"
    assert line["media"] == []
    assert line["completion_tokens"] == 2
    assert line["prompt_tokens"] > 0
    assert line["ms"] >= 0
    assert "SECRET" not in str(line)


async def test_an_error(client: httpx.AsyncClient) -> None:
    part = {"type": "image_url", "image_url": {"url": "data:;base64,SECRET=="}}
    line = await posted(client, {"messages": [{"role": "user", "content": [part]}]})
    assert (line["status"], line["error"]) == (400, "InvalidMedia")
    assert "SECRET" not in str(line)


async def test_keys_and_control_characters_stay_out(connect: Connect) -> None:
    async with connect(Settings.model_validate({"api_key": "right"})) as client:
        with capture_logs() as lines:
            headers = {"authorization": "Bearer SECRET"}
            await client.get("/a%0Ab", headers=headers)
            await client.get("/health")
    (line,) = lines
    assert line["path"] == "/a%0Ab"
    assert "SECRET" not in str(line)
