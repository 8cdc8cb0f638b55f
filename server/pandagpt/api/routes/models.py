"""/v1/models: OpenAI's card, with the context length (vLLM's field) and the modalities."""

from typing import Any

from fastapi import APIRouter, Request

from pandagpt.api.serving import ServedModel
from pandagpt.api.state import find_model, state_of

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("")
@router.get("/", include_in_schema=False)
async def list_models(request: Request) -> dict[str, Any]:
    return {"object": "list", "data": [_card(state_of(request).holder.serving.model)]}


@router.get("/{model_id:path}")
async def retrieve_model(request: Request, model_id: str) -> dict[str, Any]:
    return _card(find_model(state_of(request).holder.serving, model_id))


def _card(model: ServedModel) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": "pandagpt",
        "max_model_len": model.max_model_len,
        "modalities": ["text", *model.modalities],
    }
