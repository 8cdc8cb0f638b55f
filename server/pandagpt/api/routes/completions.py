"""/v1/completions: raw text in, what follows it out; no template, no conversation."""

import uuid
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from pandagpt.api.ask import begin, streamed
from pandagpt.api.body import read_body
from pandagpt.api.completion import Heading
from pandagpt.api.generation import Generation, unless_gone
from pandagpt.api.openapi import describe
from pandagpt.api.sampling import sampling_params
from pandagpt.api.schemas.answers import TextCompletion, TextCompletionChunk
from pandagpt.api.schemas.chat import StreamOptions
from pandagpt.api.schemas.completion import CompletionRequest
from pandagpt.api.state import find_model, state_of
from pandagpt.api.text_completion import TextAnswer

router = APIRouter(prefix="/v1/completions", tags=["completions"])

EXAMPLES: dict[str, Any] = {
    "A text that goes on": {"prompt": "The frog is", "max_tokens": 16, "temperature": 0},
    "Two prompts, streamed": {
        "prompt": ["The frog is", "The car is"],
        "max_tokens": 8,
        "stream": True,
        "stream_options": {"include_usage": True},
    },
}


@router.post("", **describe(TextCompletion, CompletionRequest, EXAMPLES, chunk=TextCompletionChunk))
async def create_completion(request: Request) -> Response:
    """Raw text or token ids in, what follows them out."""
    asked = await read_body(request, CompletionRequest)
    generation, texts = await unless_gone(request.receive, _begin(request, asked))
    asked = asked.model_copy(update={"prompt": []})
    model_id = asked.model or state_of(request).holder.serving.model.id
    echoed = [text if asked.echo else "" for text in texts for _ in range(asked.n)]
    heading = Heading(model_id, f"cmpl-{uuid.uuid4().hex}")
    completion = TextAnswer(generation, heading, echoed, asked.logprobs is not None)
    if asked.stream:
        options = asked.stream_options or StreamOptions()
        return streamed(request, generation, completion.frames(options))
    try:
        return JSONResponse(await unless_gone(request.receive, completion.whole()))
    finally:
        generation.close()


async def _begin(request: Request, asked: CompletionRequest) -> tuple[Generation, list[str]]:
    state = state_of(request)
    model = find_model(state.holder.serving, asked.model)
    prompts = await state.intake.read_prompts(asked, model)
    params = [
        (given, sampling_params(asked, model, len(given.prompt), given.form))
        for given, _ in prompts
    ]
    generation = await begin(request, model, params, asked.n, is_whole=not asked.stream)
    return generation, [text for _, text in prompts]
