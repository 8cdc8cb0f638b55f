"""The way in: decoding off the loop, in bounds, refusing at once beyond them."""

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from pandagpt.api import intake as intake_module
from pandagpt.api.intake import Intake
from pandagpt.api.schemas.chat import ChatRequest
from pandagpt.api.serving import ServedModel
from pandagpt.errors import InvalidMedia, Overloaded
from pandagpt.media.limits import MediaLimits

PICTURE = {"type": "image_url", "image_url": "data:;base64,AAAA"}
CHAT = ChatRequest.model_validate({"messages": [{"role": "user", "content": [PICTURE, PICTURE]}]})


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Decoding waits for it."""
    gate = threading.Event()

    def load(*_: Any) -> np.ndarray:
        assert gate.wait(10)
        assert threading.current_thread().name.startswith("intake")
        return np.zeros(1, np.float32)

    monkeypatch.setattr(intake_module, "load", load)
    return gate


async def test_pending_requests_are_bounded(
    served_model: ServedModel, gate: threading.Event
) -> None:
    intake = Intake(MediaLimits(), max_media=4, max_pending=2)
    try:
        reading = [asyncio.create_task(intake.read(CHAT, served_model)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await intake.read(CHAT, served_model)
        gate.set()
        done = await asyncio.gather(*reading)
        assert all(len(given.media) == 2 for given in done)
        assert done[0].media[0].digest == done[1].media[1].digest
        await intake.read(CHAT, served_model)
    finally:
        gate.set()
        intake.close()


async def test_what_is_cancelled_leaves_no_trace(
    served_model: ServedModel, gate: threading.Event
) -> None:
    intake = Intake(MediaLimits(), max_media=4, max_pending=1)
    try:
        reading = asyncio.create_task(intake.read(CHAT, served_model))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        gate.set()
        await intake.read(CHAT, served_model)
    finally:
        gate.set()
        intake.close()


async def test_errors_of_media_are_placed(served_model: ServedModel) -> None:
    intake = Intake(MediaLimits(), max_media=4, max_pending=1)
    try:
        with pytest.raises(InvalidMedia) as caught:
            await intake.read(CHAT, served_model)
    finally:
        intake.close()
    assert caught.value.param in (
        "messages[0].content[0].image_url",
        "messages[0].content[1].image_url",
    )


async def test_long_texts_are_tokenised_off_the_loop(served_model: ServedModel) -> None:
    """The same prompt either way."""
    roomy = ServedModel("m", served_model.tokenizer, 100_000, served_model.vocab_size)
    intake = Intake(MediaLimits(), max_media=0, max_pending=1)
    text = "word " * 2000
    try:
        chat = ChatRequest.model_validate({"messages": [{"role": "user", "content": text}]})
        given = await intake.read(chat, roomy)
        short = await intake.read(
            ChatRequest.model_validate({"messages": [{"role": "user", "content": "word"}]}), roomy
        )
    finally:
        intake.close()
    assert len(given.prompt) > 2000 > len(short.prompt)
