"""Large bodies: room for them, one answer for each, and nobody waits for one that stalls."""

import asyncio
import base64
import json
from contextlib import AsyncExitStack

import anyio
import httpx
import pytest
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from pandagpt.api.body import MAX_FREE_BYTES, Admission, BodyRoom
from pandagpt.api.room import Room
from pandagpt.media.modality import Modality
from tests.api.conftest import ScriptedEngine
from tests.api.test_errors import CHAT
from tests.media.made import gradient, picture

MEBIBYTE = 2**20


def picture_body(count: int, num_chars: int) -> bytes:
    url = "data:image/png;base64," + base64.b64encode(picture(gradient())).decode().ljust(num_chars)
    parts = [{"type": "image_url", "image_url": {"url": url}}] * count
    return json.dumps({"messages": [{"role": "user", "content": parts}]}).encode()


async def test_large_pictures_arrive_whole(
    client: httpx.AsyncClient, engine: ScriptedEngine
) -> None:
    response = await client.post(CHAT, content=picture_body(3, 2 * MEBIBYTE))
    assert response.status_code == 200
    assert [item.modality for item in engine.requests[0].media] == [Modality.IMAGE] * 3
    small = await client.post(CHAT, content=picture_body(1, 0))
    assert small.status_code == 200
    assert (engine.requests[0].media[2].array == engine.requests[1].media[0].array).all()


async def test_a_large_body_names_its_errors(client: httpx.AsyncClient) -> None:
    body = picture_body(2, MEBIBYTE).replace(b"data:image/png;base64,", b"data:image/png;base64,!")
    response = await client.post(CHAT, content=body)
    assert response.json()["error"]["param"] == "messages[0].content[0].image_url"
    assert "not valid base64" in response.json()["error"]["message"]


def admission(room: Room, held: AsyncExitStack) -> Admission:
    return Admission(room, anyio.CapacityLimiter(1), 2 * MAX_FREE_BYTES, held)


async def test_room() -> None:
    room = Room(3 * MAX_FREE_BYTES, 1)
    async with AsyncExitStack() as held:
        await admission(room, held).enter(Headers({"content-length": str(MAX_FREE_BYTES)}))
        assert room.num_free == room.num_bytes
        await admission(room, held).enter(Headers({}))
        assert room.num_free == MAX_FREE_BYTES
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await admission(room, held).enter(Headers({}))
    assert room.num_free == room.num_bytes


@pytest.mark.parametrize("ends_well", [True, False])
async def test_room_is_left_when_the_answer_begins(ends_well: bool) -> None:
    free: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await scope["state"]["body"].enter(Headers({}))
        free.append(middleware.room.num_free)
        if not ends_well:
            raise RuntimeError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        free.append(middleware.room.num_free)

    async def receive() -> Message:
        raise NotImplementedError

    async def send(_: Message) -> None:
        pass

    middleware = BodyRoom(app, 2 * MAX_FREE_BYTES, 1)
    whole = middleware.room.num_bytes
    if ends_well:
        await middleware({"type": "http"}, receive, send)
        assert free == [whole - 2 * MAX_FREE_BYTES, whole]
    else:
        with pytest.raises(RuntimeError):
            await middleware({"type": "http"}, receive, send)
    assert middleware.room.num_free == whole
