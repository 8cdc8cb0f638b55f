"""/health: the process is alive. /ready: requests are served."""

from fastapi import APIRouter, Request

from pandagpt.api.state import state_of
from pandagpt.errors import Overloaded

router = APIRouter(tags=["health"])


@router.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/ready")
async def ready(request: Request) -> dict[str, str]:
    serving = state_of(request).holder.serving
    if not serving.engine.is_ready:
        raise Overloaded("The engine takes no requests. Try again soon.", retry_after_seconds=10)
    return {"status": "ready", "model": serving.model.id}
