"""/health: the process is alive. /ready: requests are served."""

from fastapi import APIRouter, Request

from pandagpt.api.openapi import describe
from pandagpt.api.schemas.answers import Health, Readiness
from pandagpt.api.state import state_of
from pandagpt.errors import Overloaded

router = APIRouter(tags=["health"])


@router.get("/health", **describe(Health, errors=()))
async def health() -> dict[str, str]:
    """The process is alive, whatever else."""
    return {"status": "ok"}


@router.get("/ready", **describe(Readiness, errors=(503,)))
async def ready(request: Request) -> dict[str, str]:
    """Requests are served; 503 while the model is loaded or the server drains."""
    holder = state_of(request).holder
    holder.refuse_if_draining()
    serving = holder.serving
    if not serving.engine.is_ready:
        raise Overloaded("The engine takes no requests. Try again soon.", retry_after_seconds=10)
    return {"status": "ready", "model": serving.model.id}
