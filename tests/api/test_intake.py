"""The way in: decoding off the loop, in bounds, refusing at once beyond them."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pandagpt.api import intake as intake_module
from pandagpt.api.conversation import Conversation
from pandagpt.api.fetch import Fetcher, FetchRules
from pandagpt.api.intake import EngineInput, Intake
from pandagpt.api.media_reader import MediaReader
from pandagpt.api.schemas.chat import ChatRequest
from pandagpt.api.serving import ServedModel
from pandagpt.errors import InvalidMedia, Overloaded, UnknownFile
from pandagpt.media.decoder import DecoderPool
from pandagpt.media.limits import MediaLimits
from pandagpt.media.loader import array_bytes
from pandagpt.media.modality import Modality
from pandagpt.media.options import MediaOptions

PICTURE = {"type": "image_url", "image_url": "data:;base64,AAAA"}
TEXT = ChatRequest.model_validate({"messages": [{"role": "user", "content": "Hi"}]})
CHAT = ChatRequest.model_validate({"messages": [{"role": "user", "content": [PICTURE, PICTURE]}]})


class FakeDecoders(DecoderPool):
    """Decodes by `load`, on the caller's thread."""

    def __init__(self, load: Callable[[], np.ndarray]) -> None:
        super().__init__(MediaLimits(), num_decoders=2)
        self._fake = load

    def load(
        self, modality: Modality | None, data: bytes, options: MediaOptions
    ) -> tuple[Modality, np.ndarray]:
        assert threading.current_thread().name.startswith("media")
        return Modality.IMAGE, self._fake()


def no_file(file_id: str, caller: str) -> bytes:
    raise UnknownFile("No such file.")


def new_intake(
    decoders: DecoderPool, max_media: int = 4, max_pending: int = 1, max_decoded_bytes: int = 2**30
) -> Intake:
    reader = MediaReader(decoders, Fetcher(FetchRules()), no_file)
    return Intake(reader, max_media, max_pending, max_decoded_bytes, 1)


async def read(intake: Intake, chat: ChatRequest, model: ServedModel) -> EngineInput:
    async with intake.read(chat, model, "") as given:
        return given


@pytest.fixture
def gate() -> threading.Event:
    return threading.Event()


@pytest.fixture
def gated(gate: threading.Event) -> DecoderPool:
    """Decoding waits for the gate."""

    def load() -> np.ndarray:
        assert gate.wait(10)
        return np.zeros(1, np.float32)

    return FakeDecoders(load)


async def test_pending_requests_are_bounded(
    served_model: ServedModel, gate: threading.Event, gated: DecoderPool
) -> None:
    intake = new_intake(gated, max_pending=2)
    try:
        reading = [asyncio.create_task(read(intake, CHAT, served_model)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await read(intake, CHAT, served_model)
        gate.set()
        done = await asyncio.gather(*reading)
        assert all(len(given.media) == 2 for given in done)
        assert done[0].media[0].digest == done[1].media[1].digest
        await read(intake, CHAT, served_model)
    finally:
        gate.set()
        intake.close()


async def test_what_is_cancelled_leaves_no_trace(
    served_model: ServedModel, gate: threading.Event, gated: DecoderPool
) -> None:
    intake = new_intake(gated)
    try:
        reading = asyncio.create_task(read(intake, CHAT, served_model))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        gate.set()
        await read(intake, CHAT, served_model)
    finally:
        gate.set()
        intake.close()


async def test_media_take_room_until_they_are_encoded(
    served_model: ServedModel, gate: threading.Event, gated: DecoderPool
) -> None:
    """The next request waits undecoded; text needs no room."""
    gate.set()
    intake = new_intake(gated, max_pending=9, max_decoded_bytes=array_bytes(Modality.IMAGE))
    try:
        async with intake.read(CHAT, served_model, ""):
            waiting = asyncio.create_task(read(intake, CHAT, served_model))
            await read(intake, TEXT, served_model)
            assert not waiting.done()
        await waiting
    finally:
        intake.close()


async def test_one_bad_medium_stops_the_rest(served_model: ServedModel) -> None:
    num_loaded = 0

    def load() -> np.ndarray:
        nonlocal num_loaded
        num_loaded += 1
        time.sleep(0.005)
        raise InvalidMedia("broken")

    parts = [PICTURE] * 100
    chat = ChatRequest.model_validate({"messages": [{"role": "user", "content": parts}]})
    intake = new_intake(FakeDecoders(load), max_media=100)
    try:
        with pytest.raises(InvalidMedia):
            await read(intake, chat, served_model)
        await read(intake, TEXT, served_model)
    finally:
        intake.close()
    assert num_loaded < 50


async def test_errors_of_media_are_placed(served_model: ServedModel, decoders: DecoderPool) -> None:
    intake = new_intake(decoders)
    try:
        with pytest.raises(InvalidMedia) as caught:
            await read(intake, CHAT, served_model)
    finally:
        intake.close()
    assert caught.value.param in (
        "messages[0].content[0].image_url",
        "messages[0].content[1].image_url",
    )


async def test_long_texts_are_tokenised_off_the_loop(
    served_model: ServedModel, decoders: DecoderPool
) -> None:
    """The same prompt either way."""
    roomy = ServedModel("m", served_model.tokenizer, 100_000, served_model.vocab_size)
    intake = new_intake(decoders, max_media=0)
    text = "word " * 2000
    try:
        chat = ChatRequest.model_validate({"messages": [{"role": "user", "content": text}]})
        given = await read(intake, chat, roomy)
        short = await read(
            intake,
            ChatRequest.model_validate({"messages": [{"role": "user", "content": "word"}]}),
            roomy,
        )
    finally:
        intake.close()
    assert len(given.prompt) > 2000 > len(short.prompt)


async def test_many_turns_are_read_off_the_loop(
    served_model: ServedModel, decoders: DecoderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    whole = intake_module.read_messages

    def read_messages(*arguments: Any) -> Conversation:
        threads.append(threading.current_thread().name)
        return whole(*arguments)

    monkeypatch.setattr(intake_module, "read_messages", read_messages)
    roomy = ServedModel("m", served_model.tokenizer, 100_000, served_model.vocab_size)
    many = {"messages": [{"role": "user", "content": "Hi"}] * 2000}
    intake = new_intake(decoders, max_media=0)
    try:
        await read(intake, TEXT, roomy)
        given = await read(intake, ChatRequest.model_validate(many), roomy)
    finally:
        intake.close()
    assert threads[0] == threading.current_thread().name
    assert threads[1].startswith("intake")
    assert len(given.prompt) > 2000
