"""`response_format`: text, any JSON object, or JSON that a schema holds for."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from pandagpt.api.schemas.request import RequestModel

Name = Annotated[str, StringConstraints(pattern="^[a-zA-Z0-9_-]{1,64}$")]


class JsonSchemaFormat(RequestModel):
    """`name` and `description` are for the reader; a schema is enforced, `strict` or not."""

    name: Name
    description: str = ""
    json_schema: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool = False


class ResponseFormat(RequestModel):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> "ResponseFormat":
        if self.type == "json_schema" and self.json_schema is None:
            raise PydanticCustomError("no_schema", "the type 'json_schema' needs 'json_schema'")
        return self
