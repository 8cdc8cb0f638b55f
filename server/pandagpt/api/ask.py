"""A validated request put to the engine: the one way that every route takes.

Returns with the first delta; whatever can fail before it has been raised, so that an error has
a status of its own.
"""

import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence

from fastapi import Request

from pandagpt.api.errors import sse_data
from pandagpt.api.generation import Generation, Usage, start
from pandagpt.api.intake import EngineInput
from pandagpt.api.sampling import sampling_params
from pandagpt.api.schemas.chat import ChatRequest
from pandagpt.api.serving import ServedModel
from pandagpt.api.sse import DONE, EventStream, failing_softly, frame
from pandagpt.api.state import caller_of, find_model, log_of, state_of
from pandagpt.engine.request import GenerateRequest, SamplingParams
from pandagpt.errors import PandaError


async def ask(request: Request, chat: ChatRequest, *, is_whole: bool) -> Generation:
    state = state_of(request)
    model = find_model(state.holder.serving, chat.model)
    async with state.intake.read(chat, model, caller_of(request)) as given:
        params = sampling_params(chat, model, len(given.prompt), given.form)
        return await begin(request, model, [(given, params)], chat.n, is_whole=is_whole)


async def begin(
    request: Request,
    model: ServedModel,
    asked: Sequence[tuple[EngineInput, SamplingParams]],
    n: int,
    *,
    is_whole: bool,
) -> Generation:
    """`n` choices of each input; those of the second follow those of the first."""
    log = log_of(request)
    inputs = [given for given, _ in asked]
    slots = sum((given.slots_by_modality for given in inputs), Counter[str]())
    usage = Usage(sum(len(given.prompt) for given in inputs), slots)
    media = [item.modality.value for given in inputs for item in given.media]
    log.fields |= {"model": model.id, "media": media}
    log.counts = usage.log_fields
    wanted = [
        GenerateRequest(
            # A client may send one id twice, and the engine must tell its requests apart.
            f"{log.request_id}/{uuid.uuid4().hex}",
            given.prompt,
            given.media,
            params,
            n,
            cache_salt=caller_of(request),
            model=model.variant,
        )
        for given, params in asked
    ]
    engine = state_of(request).holder.serving.engine
    return await start(engine, wanted, usage, is_whole=is_whole)


def streamed(
    request: Request,
    generation: Generation,
    frames: AsyncGenerator[bytes],
    failed: Callable[[PandaError], bytes] | None = None,
) -> EventStream:
    """`failed` frames an error; as chunks end otherwise: with `[DONE]`."""
    request_id = log_of(request).request_id

    def ended(error: PandaError) -> bytes:
        return frame(sse_data(error, request_id)) + DONE

    interval = state_of(request).settings.sse_keep_alive_interval
    softly = failing_softly(frames, failed or ended, request_id)
    return EventStream(softly, generation.close, interval)
