"""/v1/embeddings: texts and media of every kind to vectors of one space."""

import uuid
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from pandagpt.api.body import read_body
from pandagpt.api.embedding import encoded, read_items, vectors
from pandagpt.api.generation import once_more, unless_gone
from pandagpt.api.openapi import describe
from pandagpt.api.schemas.answers import EmbeddingList
from pandagpt.api.schemas.embeddings import EmbeddingsRequest
from pandagpt.api.serving import EmbeddingModel
from pandagpt.api.state import caller_of, find_embedding_model, log_of, state_of
from pandagpt.engine.request import EmbedRequest
from pandagpt.errors import InvalidValue

router = APIRouter(prefix="/v1/embeddings", tags=["embeddings"])

EXAMPLES: dict[str, Any] = {
    "A text and a sound": {
        "input": ["a frog", {"content": [{"type": "audio_url", "audio_url": "sample://frog.wav"}]}]
    }
}


@router.post("", **describe(EmbeddingList, EmbeddingsRequest, EXAMPLES))
async def create_embeddings(request: Request) -> JSONResponse:
    """Vectors of texts and media of every kind, all in one space."""
    wanted = await read_body(request, EmbeddingsRequest)
    return JSONResponse(await unless_gone(request.receive, _embed(request, wanted)))


async def _embed(request: Request, wanted: EmbeddingsRequest) -> dict[str, Any]:
    state, log = state_of(request), log_of(request)
    serving = state.holder.serving
    model = find_embedding_model(serving, wanted.model)
    _check_dimensions(wanted, model)
    items = read_items(wanted, state.settings.max_media_per_request)
    is_cut = wanted.truncate_prompt_tokens is not None
    caller, tokenizer = caller_of(request), model.text_tokenizer
    async with state.intake.read_sources(items, tokenizer, caller, is_cut=is_cut) as given:
        log.fields |= {"model": model.id, "items": len(items)}
        engine_id = f"{log.request_id}/{uuid.uuid4().hex}"
        embed = EmbedRequest(engine_id, given.media, caller)
        embeddings = await once_more(serving.engine, lambda: serving.engine.embed(embed))
    rows = vectors(embeddings.array, items, is_unit=wanted.use_activation)
    usage = {"prompt_tokens": given.num_tokens, "total_tokens": given.num_tokens}
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": encoded(vector, wanted.encoding_format),
        }
        for index, vector in enumerate(rows)
    ]
    return {"object": "list", "data": data, "model": wanted.model or model.id, "usage": usage}


def _check_dimensions(wanted: EmbeddingsRequest, model: EmbeddingModel) -> None:
    if wanted.dimensions not in (None, model.dimensions):
        message = (
            f"'dimensions' is {wanted.dimensions}; this model's vectors have {model.dimensions}."
        )
        raise InvalidValue(message, "dimensions")
