"""The server's life: alive before it is ready, refusing meanwhile, telling what failed."""

import threading

import httpx

from pandagpt.api.app import create_app
from pandagpt.api.serving import ServedModel, Serving
from pandagpt.errors import CheckpointError
from pandagpt.media.decoder import DecoderPool
from pandagpt.settings import Settings
from tests.api.conftest import Connect, ScriptedEngine, unexpected
from tests.api.test_errors import CHAT, HELLO, assert_error


async def test_alive_before_ready(
    engine: ScriptedEngine, served_model: ServedModel, decoders: DecoderPool
) -> None:
    may_load = threading.Event()

    def load() -> Serving:
        assert may_load.wait(10)
        return Serving(engine, served_model)

    app = create_app(Settings(), load, unexpected, decoders)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        assert (await client.get("/health")).json() == {"status": "ok"}
        for response in (
            await client.get("/ready"),
            await client.post(CHAT, json=HELLO),
            await client.get("/v1/models"),
        ):
            assert_error(response, 503, "server_overloaded")
            assert int(response.headers["retry-after"]) >= 1
        may_load.set()
        while (await client.get("/ready")).status_code != 200:
            pass
        assert (await client.post(CHAT, json=HELLO)).status_code == 200


async def test_a_load_that_fails_is_told(decoders: DecoderPool) -> None:
    told = threading.Event()
    errors: list[Exception] = []

    def load() -> Serving:
        raise CheckpointError("is cut short")

    def tell(error: Exception) -> None:
        errors.append(error)
        told.set()

    app = create_app(Settings(), load, tell, decoders)
    async with app.router.lifespan_context(app):
        assert told.wait(10)
    assert str(errors[0]) == "is cut short"


async def test_the_engine_is_closed_at_the_end(connect: Connect, engine: ScriptedEngine) -> None:
    async with connect() as client:
        assert (await client.get("/ready")).json() == {"status": "ready", "model": "scripted"}
        assert not engine.is_closed
    assert engine.is_closed


async def test_an_engine_that_has_ended_is_not_ready(
    client: httpx.AsyncClient, engine: ScriptedEngine
) -> None:
    engine.is_ready = False
    assert_error(await client.get("/ready"), 503, "server_overloaded")
    assert (await client.get("/health")).status_code == 200


async def test_models(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/v1/models")).json()
    (card,) = listed["data"]
    assert listed["object"] == "list"
    assert card["id"] == "scripted"
    assert card["object"] == "model"
    assert card["max_model_len"] == 100
    assert set(card["modalities"]) == {
        "text",
        "image",
        "video",
        "audio",
        "depth",
        "thermal",
        "imu",
    }
    assert (await client.get("/v1/models/scripted")).json() == card
    assert (await client.get("/v1/models/")).json() == listed


async def test_the_schema_is_served(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()
    assert set(schema["paths"]) == {
        "/health",
        "/ready",
        "/metrics",
        "/v1/models",
        "/v1/models/{model_id}",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/responses/{response_id}",
        "/v1/responses/{response_id}/cancel",
        "/v1/responses/{response_id}/input_items",
        "/v1/embeddings",
        "/v1/files",
        "/v1/files/{file_id}",
        "/v1/files/{file_id}/content",
        "/tokenize",
        "/detokenize",
    }
