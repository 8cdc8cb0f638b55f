"""/v1/models: OpenAI's card, with the modalities and vLLM's context length, root and parent."""

from typing import Any

from fastapi import APIRouter, Request

from pandagpt.api.openapi import describe
from pandagpt.api.schemas.answers import ModelCard, ModelList
from pandagpt.api.serving import MEDIA, EmbeddingModel, ServedModel
from pandagpt.api.state import find_model, state_of

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("", **describe(ModelList, errors=(503,)))
@router.get("/", include_in_schema=False)
async def list_models(request: Request) -> dict[str, Any]:
    """The served models: what they read, and how much of it."""
    serving = state_of(request).holder.serving
    cards = [_card(model) for model in serving.chat_models]
    if serving.embedding_model:
        cards.append(_embedding_card(serving.embedding_model))
    return {"object": "list", "data": cards}


@router.get("/{model_id:path}", **describe(ModelCard, errors=(404, 503)))
async def retrieve_model(request: Request, model_id: str) -> dict[str, Any]:
    """One model's card."""
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
        "root": model.id,
        "parent": model.parent,
        "max_model_len": model.max_model_len,
        "modalities": ["text", *model.modalities],
    }


def _embedding_card(model: EmbeddingModel) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": "pandagpt",
        "root": model.id,
        "parent": None,
        "max_model_len": model.text_tokenizer.context_length,
        "modalities": ["text", *MEDIA],
        "dimensions": model.dimensions,
    }
