"""/health: the process is alive. /ready: requests are served."""

from fastapi import APIRouter, Request

from pandagpt.api.state import state_of

router = APIRouter(tags=["health"])


@router.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/ready")
async def ready(request: Request) -> dict[str, str]:
    return {"status": "ready", "model": state_of(request).holder.serving.model.id}
