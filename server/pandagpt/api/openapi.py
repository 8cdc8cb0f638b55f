"""What /openapi.json says of each route, and the document as a whole.

Routes read their bodies themselves, so they name what goes in and out in one line:

    @router.post("", **describe(EmbeddingList, EmbeddingsRequest, EXAMPLES))

`describe` gives the decorator's arguments; `document` puts each schema once under
`components` and adds what follows for all routes. A request's field is explained by its name
in schemas/descriptions.py. The tests post every example to a live server.
"""

from collections.abc import Collection, Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from pandagpt.api.errors import HTTP_PROBLEMS, PROBLEMS
from pandagpt.api.middleware import OPEN_PATHS
from pandagpt.api.schemas.answers import Error
from pandagpt.api.schemas.descriptions import DESCRIPTIONS
from pandagpt.api.schemas.request import RequestModel

Json = dict[str, Any]

REFERENCE = "#/components/schemas/{model}"
ERRORS = (400, 404, 413, 415, 500, 503)
STREAM = (
    "With `stream`: server-sent events. The data of each is one chunk, as described here, or an "
    "error; the last one is `[DONE]`."
)


def describe(
    answer: type[BaseModel],
    request: type[RequestModel] | None = None,
    examples: Json | None = None,
    *,
    chunk: type[BaseModel] | None = None,
    errors: Collection[int] = ERRORS,
) -> Json:
    """The arguments of a route's decorator. `examples` are bodies by their summary; `chunk`
    is what the events of the streamed form hold; 401 is added where keys are set."""
    content = _content(_schema(answer))
    if chunk:
        content["text/event-stream"] = {"schema": _schema(chunk)}
    success = f"OK. {STREAM}" if chunk else "OK"
    responses: dict[int, Json] = {status: _error(status) for status in errors}
    responses[200] = {"description": success, "content": content}
    arguments: Json = {"response_model": None, "responses": responses}
    if request:
        body = _content(_request_schema(request), examples)
        arguments["openapi_extra"] = {"requestBody": {"required": True, "content": body}}
    return arguments


def _content(schema: Json, examples: Json | None = None) -> Json:
    kind: Json = {"schema": schema}
    if examples:
        kind["examples"] = {
            summary: {"summary": summary, "value": value} for summary, value in examples.items()
        }
    return {"application/json": kind}


def _error(status: int) -> Json:
    """Its codes are those of the table of errors."""
    problems = [*PROBLEMS.values(), *HTTP_PROBLEMS.values()]
    codes = {problem.code: None for problem in problems if problem.status == status}
    named = ", ".join(f"`{code}`" for code in codes if code)
    description = f"An error, with the code {named}" if named else "An error"
    return {"description": description, "content": _content(_schema(Error))}


def _schema(model: type[BaseModel]) -> Json:
    return model.model_json_schema(ref_template=REFERENCE, mode="serialization")


def _request_schema(model: type[RequestModel]) -> Json:
    schema = model.model_json_schema(ref_template=REFERENCE)
    for part in (schema, *schema.get("$defs", {}).values()):
        required = part.get("required", ())
        for name, field in part.get("properties", {}).items():
            part["properties"][name] = _field(name, field, is_required=name in required)
    return schema


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


def document(app: FastAPI, *, has_keys: bool) -> Json:
    whole = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas: Json = {}
    for _, operation in _operations(whole):
        # FastAPI's own, for a path parameter that is no string: there are none.
        operation["responses"].pop("422", None)
        for content in _contents(operation):
            content["schema"] = _hoisted(content["schema"], schemas)
    whole["components"] = {"schemas": dict(sorted(schemas.items()))}
    if has_keys:
        _secure(whole)
    for _, operation in _operations(whole):
        operation["responses"] = dict(sorted(operation["responses"].items()))
    return whole


def _operations(whole: Json) -> Iterator[tuple[str, Json]]:
    for path, operations in whole["paths"].items():
        for operation in operations.values():
            yield path, operation


def _contents(operation: Json) -> Iterator[Json]:
    for body in (operation.get("requestBody", {}), *operation["responses"].values()):
        yield from (content for content in body.get("content", {}).values())


def _hoisted(schema: Json, schemas: Json) -> Json:
    """A reference to the schema, which is put into `schemas` with all it consists of."""
    if "title" not in schema:
        return schema
    parts = schema.pop("$defs", {})
    for name, part in {**parts, schema["title"]: schema}.items():
        known = schemas.setdefault(name, part)
        assert known == part, f"two schemas are named {name}"
    return {"$ref": REFERENCE.format(model=schema["title"])}


def _secure(whole: Json) -> None:
    whole["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, operation in _operations(whole):
        if path not in OPEN_PATHS:
            operation["security"] = [{"key": []}]
            content = _content({"$ref": REFERENCE.format(model="Error")})
            operation["responses"]["401"] = {**_error(401), "content": content}
