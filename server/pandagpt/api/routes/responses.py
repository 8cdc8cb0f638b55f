"""/v1/responses: items in, items out, whole or as events; kept for the next turn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool

from pandagpt.api.ask import ask, streamed
from pandagpt.api.body import MAX_INLINE_BYTES, read_body
from pandagpt.api.errors import content_of
from pandagpt.api.generation import Generation, unless_gone
from pandagpt.api.responses.answer import Heading, ResponseAnswer
from pandagpt.api.responses.items import listed, num_bytes, read_output, with_id
from pandagpt.api.responses.output import Output
from pandagpt.api.responses.store import StoredResponse
from pandagpt.api.responses.translation import Translation
from pandagpt.api.schemas.chat import ChatRequest
from pandagpt.api.schemas.request import validated
from pandagpt.api.schemas.response_queries import InputItemsQuery, RetrieveQuery
from pandagpt.api.schemas.responses import InputItem, ItemReference, ResponseRequest
from pandagpt.api.state import caller_of, log_of, state_of
from pandagpt.api.tools import Toolbox
from pandagpt.errors import InvalidValue, PandaError, RequestError, UnknownResponse

router = APIRouter(prefix="/v1/responses", tags=["responses"])

EXAMPLE: dict[str, Any] = {
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": "data:image/png;base64,..."},
            ],
        }
    ]
}
BODY = {"required": True, "content": {"application/json": {"example": EXAMPLE}}}


@router.post("", openapi_extra={"requestBody": BODY})
async def create_response(request: Request) -> Response:
    asked = await read_body(request, ResponseRequest)
    items = _items(request, asked)
    kept = await _kept(request, items) if asked.store else None
    translation = Translation(asked, items, _history(request, asked))
    chat = translation.chat()
    try:
        generation = await unless_gone(request.receive, ask(request, chat))
    except RequestError as error:
        raise translation.placed(error) from None
    answer = _answer(request, asked, chat, generation, kept)
    if asked.stream:
        return _stream(request, answer)
    try:
        return JSONResponse(await unless_gone(request.receive, answer.whole()))
    finally:
        generation.close()


@dataclass(frozen=True, slots=True)
class _Kept:
    items: tuple[InputItem, ...]
    num_bytes: int


def _items(request: Request, asked: ResponseRequest) -> tuple[InputItem, ...]:
    store, caller = state_of(request).responses, caller_of(request)
    items: list[InputItem] = []
    for index, item in enumerate(asked.input):
        try:
            is_named = isinstance(item, ItemReference)
            items.append(store.item(caller, item.id) if is_named else with_id(item))
        except UnknownResponse as error:
            raise error.at(f"input[{index}].id") from None
    return tuple(items)


async def _kept(request: Request, items: tuple[InputItem, ...]) -> _Kept:
    """Raises InvalidValue if they can never be kept, before anything is computed."""
    length = int(request.headers.get("content-length", MAX_INLINE_BYTES + 1))
    is_small = length <= MAX_INLINE_BYTES
    size = num_bytes(items) if is_small else await run_in_threadpool(num_bytes, items)
    state_of(request).responses.refuse_too_large(size)
    return _Kept(items, size)


def _history(request: Request, asked: ResponseRequest) -> list[InputItem]:
    state = state_of(request)
    try:
        turns = state.responses.conversation(
            caller_of(request), asked.previous_response_id, state.settings.max_body_bytes
        )
    except UnknownResponse as error:
        raise error.at("previous_response_id") from None
    return [item for turn in turns for item in turn.items]


def _answer(
    request: Request,
    asked: ResponseRequest,
    chat: ChatRequest,
    generation: Generation,
    kept: _Kept | None,
) -> ResponseAnswer:
    state, caller = state_of(request), caller_of(request)
    toolbox = Toolbox.of(chat)
    output = Output(toolbox.reader() if toolbox else None, asked.has_logprobs)
    heading = Heading(asked, chat, asked.model or state.holder.serving.model.id)

    def keep(response: dict[str, Any]) -> None:
        if kept is not None:
            data, previous = to_json(response), asked.previous_response_id
            answered = read_output(response["output"])
            size = kept.num_bytes + len(data) + num_bytes(answered)
            stored = StoredResponse(heading.id, previous, data, kept.items, answered, size)
            state.responses.put(caller, stored)

    return ResponseAnswer(generation, heading, output, keep)


def _stream(request: Request, answer: ResponseAnswer) -> Response:
    request_id = log_of(request).request_id

    def failed(error: PandaError) -> bytes:
        return answer.failed(content_of(error, request_id)["error"]["message"])

    return streamed(request, answer.generation, answer.frames(), failed)


@router.get("/{response_id}")
async def retrieve_response(request: Request, response_id: str) -> Response:
    validated(RetrieveQuery, dict(request.query_params))
    stored = state_of(request).responses.get(caller_of(request), response_id)
    return Response(stored.response, media_type="application/json")


@router.delete("/{response_id}")
async def delete_response(request: Request, response_id: str) -> dict[str, Any]:
    state_of(request).responses.delete(caller_of(request), response_id)
    return {"id": response_id, "object": "response", "deleted": True}


@router.post("/{response_id}/cancel")
async def cancel_response(request: Request, response_id: str) -> Response:
    state_of(request).responses.get(caller_of(request), response_id)
    message = "Only responses created with 'background': true can be cancelled; this one has ended."
    raise InvalidValue(message, "response_id")


@router.get("/{response_id}/input_items")
async def list_input_items(request: Request, response_id: str) -> Response:
    query = validated(InputItemsQuery, dict(request.query_params))
    items = list(state_of(request).responses.get(caller_of(request), response_id).input)
    if query.order == "desc":
        items.reverse()
    if query.after:
        items = items[_place_of(query.after, items) + 1 :]
    page = items[: query.limit]
    rest = {
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
        "has_more": len(items) > len(page),
    }
    return StreamingResponse(_list(page, rest), media_type="application/json")


def _list(page: Sequence[InputItem], rest: dict[str, Any]) -> Iterator[bytes]:
    """Item by item, since one may be as large as a request."""
    yield b'{"object":"list","data":['
    for index, item in enumerate(page):
        yield (b"," if index else b"") + listed(item)
    yield b"]," + to_json(rest)[1:]


def _place_of(item_id: str, items: Sequence[InputItem]) -> int:
    for place, item in enumerate(items):
        if item.id == item_id:
            return place
    raise InvalidValue(f"No such item: '{item_id[:64]}'.", "after")
