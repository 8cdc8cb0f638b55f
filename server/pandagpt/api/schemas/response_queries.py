"""The query strings of /v1/responses/{id}: texts, which are cast to what they mean."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from pandagpt.api.schemas.request import UNSUPPORTED, RequestModel, refused

_AT_ONCE = "A finished response is not streamed again. Leave it out."


def _refuse_true(value: str) -> None:
    if value.lower() not in ("false", "0", ""):
        raise PydanticCustomError(UNSUPPORTED, _AT_ONCE)


class RetrieveQuery(RequestModel):
    stream: Annotated[None, BeforeValidator(_refuse_true)] = None
    starting_after: Annotated[Any, refused(_AT_ONCE)] = None


class InputItemsQuery(RequestModel):
    limit: Annotated[int, Field(strict=False, ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"
    after: str = ""
