"""What /openapi.json says of each route, and the document as a whole.

Routes read their bodies themselves, so they name what goes in and out in one line:

    @router.post("", **describe(EmbeddingList, EmbeddingsRequest, EXAMPLES))

`describe` gives the decorator's arguments; `document` puts each schema once under
`components` and adds what follows for all routes. A request's field is explained by its name
in schemas/descriptions.py. The tests post every example to a live server.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode

from pandagpt.api.errors import HTTP_PROBLEMS, PROBLEMS
from pandagpt.api.schemas.answers import Error
from pandagpt.api.schemas.descriptions import DESCRIPTIONS
from pandagpt.api.schemas.request import RequestModel

Json = dict[str, Any]

REFERENCE = "#/components/schemas/{model}"
SCHEMAS = "x-schemas"
ERRORS = (400, 404, 408, 413, 415, 429, 500, 503, 504)


def describe(
    answer: type[BaseModel] | None,
    request: type[RequestModel] | None = None,
    examples: Json | None = None,
    *,
    chunk: type[BaseModel] | None = None,
    body: Json | None = None,
    query: type[RequestModel] | None = None,
    errors: Collection[int] = ERRORS,
    media_type: str = "application/octet-stream",
) -> Json:
    """The arguments of a route's decorator. No `answer` means bytes of `media_type`. `examples` are
    bodies by their summary; `chunk` is what the events of the streamed form hold; `body` stands for
    a request that is not JSON; 401 is added to `errors` where keys are set."""
    content: Json = _json(answer) if answer else {media_type: {}}
    if chunk:
        content["text/event-stream"] = _events(chunk)
    responses: dict[int, Json] = {status: _error(status) for status in errors}
    responses[200] = {"description": "OK", "content": content}
    answers = [model for model in (answer, chunk, Error if errors else None) if model]
    schemas = [_schemas(model, "serialization") for model in answers]
    extra: Json = {}
    if request:
        schemas.append(_request_schemas(request))
        body = {"required": True, "content": _json(request, examples)}
    if body:
        extra["requestBody"] = body
    if query:
        extra["parameters"] = _parameters(query)
    extra[SCHEMAS] = _union(schemas)
    # FastAPI adds the content type of the class, were it not for a class without one.
    return {
        "response_model": None,
        "response_class": JSONResponse if answer else Response,
        "responses": responses,
        "openapi_extra": extra,
    }


def _json(model: type[BaseModel], examples: Json | None = None) -> Json:
    named = {name: {"summary": name, "value": value} for name, value in (examples or {}).items()}
    about = {"examples": named} if named else {}
    return {"application/json": {"schema": _reference(model), **about}}


def _parameters(query: type[RequestModel]) -> list[Json]:
    fields = query.model_json_schema()["properties"].items()
    return [{"name": name, "in": "query", "schema": schema} for name, schema in fields]


def _events(chunk: type[BaseModel]) -> Json:
    """As FastAPI, and OpenAPI 3.2, tell of server-sent events."""
    data: Json = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"anyOf": [_reference(chunk), _reference(Error)]},
    }
    event = {
        "type": "object",
        "required": ["data"],
        "properties": {"data": {"anyOf": [{"const": "[DONE]"}, data]}},
    }
    return {"itemSchema": event}


def _error(status: int) -> Json:
    """Its codes are those of the table of errors."""
    problems = [*PROBLEMS.values(), *HTTP_PROBLEMS.values()]
    codes = {problem.code: None for problem in problems if problem.status == status}
    named = ", ".join(f"`{code}`" for code in codes if code)
    description = f"An error, with the code {named}" if named else "An error"
    return {"description": description, "content": _json(Error)}


def _reference(model: type[BaseModel]) -> Json:
    return {"$ref": REFERENCE.format(model=model.__name__)}


def _schemas(model: type[BaseModel], mode: JsonSchemaMode) -> Json:
    """Its schema and those it consists of, by name."""
    schema = model.model_json_schema(ref_template=REFERENCE, mode=mode)
    parts = schema.pop("$defs", {})
    return parts | {model.__name__: schema}


def _union(many: Iterable[Json]) -> Json:
    schemas: Json = {}
    for some in many:
        for name, schema in some.items():
            assert schemas.setdefault(name, schema) == schema, f"two schemas are named {name}"
    return schemas


def _request_schemas(model: type[RequestModel]) -> Json:
    schemas = _schemas(model, "validation")
    for schema in schemas.values():
        required = schema.get("required", ())
        for name, field in schema.get("properties", {}).items():
            schema["properties"][name] = _field(name, field, is_required=name in required)
    return schemas


def _field(name: str, schema: Json, *, is_required: bool) -> Json:
    """With its meaning; and null is as good as absent."""
    schema = {key: value for key, value in schema.items() if key != "title"}
    if schema.get("type") == "null":
        return {**schema, "description": "Not honoured: refused by name if it is given."}
    about = {"description": DESCRIPTIONS[name]} if name in DESCRIPTIONS else {}
    if is_required or {"type": "null"} in schema.get("anyOf", ()):
        return about | schema
    default = {"default": schema.pop("default")} if schema.get("default") is not None else {}
    schema.pop("default", None)
    return {"anyOf": [schema, {"type": "null"}], **about, **default}


def document(app: FastAPI, *, has_keys: bool, open_paths: Collection[str]) -> Json:
    whole = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    operations = list(_operations(whole))
    schemas = _union(operation.pop(SCHEMAS, {}) for _, operation in operations)
    whole["components"] = {"schemas": dict(sorted(schemas.items()))}
    if has_keys:
        whole["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, operation in operations:
        if has_keys and path not in open_paths:
            operation["security"] = [{"key": []}]
            operation["responses"]["401"] = _error(401)
        # FastAPI's own, for parameters that it checks: there are none.
        operation["responses"].pop("422", None)
        operation["responses"] = dict(sorted(operation["responses"].items()))
    return whole


def _operations(whole: Json) -> Iterator[tuple[str, Json]]:
    for path, operations in whole["paths"].items():
        for operation in operations.values():
            yield path, operation
