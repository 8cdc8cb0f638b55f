"""The whole engine with its threads, without HTTP: pictures in as JPEG, streams of text out."""

import asyncio
import io
import itertools
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import numpy as np
from PIL import Image

from pandagpt.engine.client import EngineClient
from pandagpt.engine.config import EngineConfig
from pandagpt.engine.local import LocalEngine
from pandagpt.engine.request import EmbedRequest, GenerateRequest, MediaInput, SamplingParams
from pandagpt.media.limits import MediaLimits
from pandagpt.media.loader import load
from pandagpt.media.modality import Modality
from pandagpt.media.options import MediaOptions
from pandagpt.model.pandagpt import PandaGPT
from pandagpt.model.prompt import MediaSlot, Prompt
from tests.bench.gpu.device import Device
from tests.bench.gpu.presets import SHAPES, Preset
from tests.bench.gpu.table import Row

_SOLO_QUESTIONS = 7
_WATCHED_STREAMS = 8
_ENCODED_AT_ONCE = 16
_TOO_SHORT = "streams ended too soon"

Measurement = Callable[["Bench"], Awaitable[list[Row]]]


class Bench:
    def __init__(self, client: EngineClient, preset: Preset) -> None:
        self.client, self.preset = client, preset
        self._numbers = itertools.count()

    async def ask(self, num_tokens: int, *, image: bool, length: int = 0) -> list[float]:
        """When each token came; every question and every picture is a new one."""
        number = next(self._numbers)
        media: tuple[MediaInput, ...] = ()
        if image:
            media = (await asyncio.to_thread(picture, number),)
        length = length or self.preset.question_tokens
        ids = tuple(3 + (number + 7 * i) % 97 for i in range(length))
        prompt = Prompt(ids, ((1, MediaSlot((0,))),) if image else ())
        params = SamplingParams(max_tokens=num_tokens, temperature=0.0, ignore_eos=True)
        request = GenerateRequest(f"r{number}", prompt, media, params, cache_salt=str(number))
        return [
            time.perf_counter()
            async for delta in self.client.generate(request)
            for _ in delta.token_ids
        ]

    async def embed(self) -> None:
        """A picture that is encoded and then used for nothing."""
        number = next(self._numbers)
        array = np.full(SHAPES[Modality.IMAGE], number % 7, np.float32)
        media = (MediaInput(Modality.IMAGE, array, str(number)),)
        await self.client.embed(EmbedRequest(f"r{number}", media, str(number)))


def serving(model: PandaGPT, preset: Preset, device: Device) -> Iterator[Row]:
    yield from asyncio.run(_all(model, preset, device))


async def _all(model: PandaGPT, preset: Preset, device: Device) -> list[Row]:
    rows: list[Row] = []
    async with engine(model, preset, device) as client:
        bench = Bench(client, preset)
        await bench.ask(2, image=True)  # the first picture is slow: it loads kernels
        for measure in (first_token, pictures, texts, pause, loss):
            rows += await measure(bench)
    return rows


@asynccontextmanager
async def engine(model: PandaGPT, preset: Preset, device: Device) -> AsyncGenerator[EngineClient]:
    longest = preset.long_prompt + preset.answer_tokens
    config = EngineConfig(max_model_len=min(longest, model.max_model_len), num_threads=1)
    config = config.with_rows(preset.streams).on("cuda" if device.is_cuda else "cpu")
    client = EngineClient(LocalEngine(model, config), config)
    try:
        yield client
    finally:
        client.close()


async def first_token(bench: Bench) -> list[Row]:
    times = []
    for _ in range(_SOLO_QUESTIONS):
        start = time.perf_counter()
        came = await bench.ask(1, image=True)
        times.append(came[0] - start)
    name = "first token of one picture's question, from its JPEG, ms"
    return [Row(name, statistics.median(times) * 1e3, bench.preset.goals.first_token_ms)]


async def pictures(bench: Bench) -> list[Row]:
    goal = bench.preset.goals.tokens_per_second
    return await _together(bench, "questions about a picture", goal, image=True)


async def texts(bench: Bench) -> list[Row]:
    return await _together(bench, "texts", None, image=False)


async def _together(bench: Bench, what: str, goal: float | None, *, image: bool) -> list[Row]:
    preset = bench.preset
    start = time.perf_counter()
    asked = [bench.ask(preset.answer_tokens, image=image) for _ in range(preset.streams)]
    streams = await asyncio.gather(*asked)
    seconds = time.perf_counter() - start
    total = sum(len(stream) for stream in streams)
    assert total == preset.streams * preset.answer_tokens
    first = statistics.median(stream[0] - start for stream in streams)
    name = f"{preset.streams} {what} at once, {preset.answer_tokens} tokens each, output tokens/s"
    return [
        Row(name, total / seconds, goal, less=False),
        Row("  first token, ms, median", first * 1e3),
    ]


async def pause(bench: Bench) -> list[Row]:
    """What streams feel of a long prompt: their longest gap around its arrival."""
    running = await _streams(bench)
    await asyncio.sleep(bench.preset.watched_seconds / 3)
    start = time.perf_counter()
    (end,) = await bench.ask(1, image=False, length=bench.preset.long_prompt)
    streams = await running()
    name = f"longest pause of streams beside a prompt of {bench.preset.long_prompt} tokens, ms"
    if _have_ended(streams, end):
        return [Row(name, _TOO_SHORT)]
    longest = max(gap for one in streams for gap in _gaps(one, start, end + 0.1))
    return [Row(name, longest * 1e3), Row("  that prompt, ms", (end - start) * 1e3)]


async def loss(bench: Bench) -> list[Row]:
    """Tokens that streams get while pictures are encoded without a break, and before."""
    running = await _streams(bench)
    half = bench.preset.watched_seconds / 2
    await asyncio.sleep(half / 4)
    start = time.perf_counter()
    await asyncio.sleep(half)
    middle = time.perf_counter()
    encoded = 0
    while time.perf_counter() < middle + half:
        await asyncio.gather(*(bench.embed() for _ in range(_ENCODED_AT_ONCE)))
        encoded += _ENCODED_AT_ONCE
    end = time.perf_counter()
    streams = await running()
    name = "streams lose while pictures are encoded, %"
    if _have_ended(streams, end):
        return [Row(name, _TOO_SHORT)]
    before = sum(start <= at < middle for one in streams for at in one) / (middle - start)
    beside = sum(middle <= at < end for one in streams for at in one) / (end - middle)
    lost = 100 * (1 - beside / before)
    return [
        Row(name, lost, bench.preset.goals.loss_percent),
        Row("  pictures/s meanwhile", encoded / (end - middle), less=False),
    ]


async def _streams(bench: Bench) -> Callable[[], Awaitable[list[list[float]]]]:
    """Starts some that outlast what is measured; what is returned waits for them."""
    longest = bench.preset.long_prompt
    tasks = [asyncio.create_task(bench.ask(longest, image=False)) for _ in range(_WATCHED_STREAMS)]
    await asyncio.sleep(0)

    async def end() -> list[list[float]]:
        return await asyncio.gather(*tasks)

    return end


def _have_ended(streams: list[list[float]], at: float) -> bool:
    return any(stream[0] > at or stream[-1] < at for stream in streams)


def _gaps(stream: list[float], start: float, end: float) -> list[float]:
    near = [at for at in stream if start - 0.1 <= at <= end]
    return [after - before for before, after in itertools.pairwise(near)]


def picture(number: int) -> MediaInput:
    """Read as the server reads it, from a JPEG."""
    coarse = np.random.default_rng(number).integers(0, 255, (12, 16, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC).save(data, "JPEG")
    options, limits = MediaOptions(), MediaLimits()
    return MediaInput(
        Modality.IMAGE, load(Modality.IMAGE, data.getvalue(), options, limits), f"p{number}"
    )
