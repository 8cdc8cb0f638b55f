"""/v1/models: OpenAI's card, with the context length (vLLM's field) and the modalities."""

from typing import Any

from fastapi import APIRouter, Request

from pandagpt.api.serving import MEDIA, EmbeddingModel, ServedModel
from pandagpt.api.state import find_model, state_of

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("")
@router.get("/", include_in_schema=False)
async def list_models(request: Request) -> dict[str, Any]:
    serving = state_of(request).holder.serving
    cards = [_card(serving.model)]
    if serving.embedding_model:
        cards.append(_embedding_card(serving.embedding_model))
    return {"object": "list", "data": cards}


@router.get("/{model_id:path}")
async def retrieve_model(request: Request, model_id: str) -> dict[str, Any]:
    serving = state_of(request).holder.serving
    if serving.embedding_model and model_id == serving.embedding_model.id:
        return _embedding_card(serving.embedding_model)
    return _card(find_model(serving, model_id))


def _card(model: ServedModel) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": "pandagpt",
        "max_model_len": model.max_model_len,
        "modalities": ["text", *model.modalities],
    }


def _embedding_card(model: EmbeddingModel) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": "pandagpt",
        "max_model_len": model.text_tokenizer.context_length,
        "modalities": ["text", *MEDIA],
        "dimensions": model.dimensions,
    }
