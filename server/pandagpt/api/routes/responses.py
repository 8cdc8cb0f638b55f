"""/v1/responses: items in, items out, whole or as events; kept for the next turn."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool

from pandagpt.api.ask import ask, streamed
from pandagpt.api.body import MAX_INLINE_BYTES, read_body
from pandagpt.api.errors import content_of
from pandagpt.api.generation import Generation, unless_gone
from pandagpt.api.responses.answer import Heading, ResponseAnswer
from pandagpt.api.responses.items import InputItem, read_turn, stored_item
from pandagpt.api.responses.output import Output
from pandagpt.api.responses.store import StoredItem, StoredResponse
from pandagpt.api.responses.translation import Translation
from pandagpt.api.schemas.chat import ChatRequest
from pandagpt.api.schemas.request import validated
from pandagpt.api.schemas.response_queries import InputItemsQuery, RetrieveQuery
from pandagpt.api.schemas.responses import ResponseRequest
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

Result = TypeVar("Result")


@router.post("", openapi_extra={"requestBody": BODY})
async def create_response(request: Request) -> Response:
    asked = await read_body(request, ResponseRequest)
    kept = await _kept_items(request, asked)
    translation = Translation(asked, await _history(request, asked))
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


async def _kept_items(request: Request, asked: ResponseRequest) -> list[StoredItem]:
    """Raises InvalidValue if they can never be kept, before anything is computed."""
    if not asked.store:
        return []
    num_bytes = len(await request.body())
    items = await _aside(num_bytes, lambda: [stored_item(item) for item in asked.input])
    state_of(request).responses.refuse_too_large(sum(len(item.data) for item in items))
    return items


async def _history(request: Request, asked: ResponseRequest) -> Sequence[InputItem]:
    state = state_of(request)
    try:
        turns = state.responses.conversation(
            caller_of(request), asked.previous_response_id, state.settings.max_body_bytes
        )
    except UnknownResponse as error:
        raise error.at("previous_response_id") from None
    num_bytes = sum(turn.num_bytes for turn in turns)
    return await _aside(num_bytes, lambda: [item for turn in turns for item in read_turn(turn)])


async def _aside(num_bytes: int, work: Callable[[], Result]) -> Result:
    """Off the event loop where it is much."""
    return await run_in_threadpool(work) if num_bytes > MAX_INLINE_BYTES else work()


def _answer(
    request: Request,
    asked: ResponseRequest,
    chat: ChatRequest,
    generation: Generation,
    kept: Sequence[StoredItem],
) -> ResponseAnswer:
    state, caller = state_of(request), caller_of(request)
    toolbox = Toolbox.of(chat)
    output = Output(toolbox.reader() if toolbox else None, asked.has_logprobs)
    heading = Heading(asked, chat, asked.model or state.holder.serving.model.id)

    def keep(response: dict[str, Any]) -> None:
        if asked.store:
            previous = asked.previous_response_id
            data = to_json(response)
            stored = StoredResponse(heading.id, previous, data, tuple(kept))
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
    data = b",".join(item.data for item in page)
    # The items are JSON already, and may be as large as a request.
    body = b'{"object":"list","data":[' + data + b"]," + to_json(rest)[1:]
    return Response(body, media_type="application/json")


def _place_of(item_id: str, items: Sequence[StoredItem]) -> int:
    for place, item in enumerate(items):
        if item.id == item_id:
            return place
    raise InvalidValue(f"No such item: '{item_id[:64]}'.", "after")
