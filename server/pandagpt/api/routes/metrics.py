"""/metrics: what the server counts, in Prometheus' text format. Open, unless --protect-metrics."""

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from pandagpt.api.openapi import describe
from pandagpt.api.state import state_of
from pandagpt.metrics import CONTENT_TYPE, exposition

router = APIRouter(tags=["health"])


@router.get("/metrics", **describe(None, errors=(), media_type="text/plain"))
async def metrics(request: Request) -> PlainTextResponse:
    """What the server counts, in Prometheus' text format; of the engine once it is loaded."""
    state = state_of(request)
    registries = [state.metrics.registry]
    if state.holder.engine:
        registries.append(state.holder.engine.metrics.registry)
    return PlainTextResponse(exposition(registries), headers={"content-type": CONTENT_TYPE})
