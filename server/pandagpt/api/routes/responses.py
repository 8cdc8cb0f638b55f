"""/v1/responses: items in, items out, whole or as events; kept for the next turn."""

from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic_core import to_json

from pandagpt.api.ask import ask, streamed
from pandagpt.api.body import aside, read_body
from pandagpt.api.errors import content_of
from pandagpt.api.generation import Generation, unless_gone
from pandagpt.api.openapi import describe
from pandagpt.api.responses.answer import Heading, ResponseAnswer
from pandagpt.api.responses.items import listed, read_output, weighed
from pandagpt.api.responses.output import Output
from pandagpt.api.responses.store import StoredItem, StoredResponse
from pandagpt.api.responses.translation import Translation
from pandagpt.api.schemas.chat import ChatRequest
from pandagpt.api.schemas.request import validated
from pandagpt.api.schemas.response_answers import (
    DeletedResponse,
    InputItemList,
    ResponseEvent,
    ResponseObject,
)
from pandagpt.api.schemas.response_queries import InputItemsQuery, RetrieveQuery
from pandagpt.api.schemas.responses import InputItem, ItemReference, ResponseRequest
from pandagpt.api.state import caller_of, log_of, state_of
from pandagpt.api.tools import Toolbox
from pandagpt.errors import InvalidValue, PandaError, RequestError, UnknownResponse

router = APIRouter(prefix="/v1/responses", tags=["responses"])

EXAMPLES: dict[str, Any] = {
    "A picture": {
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_image", "image_url": "sample://red_car.png"},
                    {"type": "input_text", "text": "What colour is it?"},
                ],
            }
        ],
        "temperature": 0,
    },
    "A function": {
        "input": "What is it?",
        "tools": [
            {
                "type": "function",
                "name": "report",
                "parameters": {
                    "type": "object",
                    "properties": {"thing": {"enum": ["bird", "car", "frog"]}},
                    "required": ["thing"],
                },
            }
        ],
        "tool_choice": "required",
        "temperature": 0,
    },
}
NO_BODY = (404, 500, 503)
WRONG_QUERY = (400, *NO_BODY)


@router.post("", **describe(ResponseObject, ResponseRequest, EXAMPLES, chunk=ResponseEvent))
async def create_response(request: Request) -> Response:
    """Items in, items out, whole or as events of OpenAI's names."""
    asked = await read_body(request, ResponseRequest)
    given = _resolved(request, asked)
    kept = await _kept(request, given) if asked.store else ()
    chat, generation = await _begin(request, asked, kept or given)
    # They may hold a body of many megabytes, and the answer may take minutes.
    del given
    asked = asked.model_copy(update={"input": []})
    chat = chat.model_copy(update={"messages": []})
    answer = _answer(request, asked, chat, generation, kept)
    if asked.stream:
        return _stream(request, answer)
    try:
        return JSONResponse(await unless_gone(request.receive, answer.whole()))
    finally:
        generation.close()


async def _begin(
    request: Request, asked: ResponseRequest, given: Sequence[InputItem | StoredItem]
) -> tuple[ChatRequest, Generation]:
    items = [each.item if isinstance(each, StoredItem) else each for each in given]
    translation = Translation(asked, items, _history(request, asked))
    chat = translation.chat()
    asking = ask(request, chat, is_whole=not asked.stream)
    try:
        return chat, await unless_gone(request.receive, asking)
    except RequestError as error:
        raise translation.placed(error) from None


async def _kept(
    request: Request, items: Sequence[InputItem | StoredItem]
) -> tuple[StoredItem, ...]:
    """Raises InvalidValue if they can never be kept, before anything is computed."""
    kept = await aside(request, weighed, items)
    state_of(request).responses.refuse_too_large(sum(item.num_bytes for item in kept))
    return kept


def _resolved(request: Request, asked: ResponseRequest) -> list[InputItem | StoredItem]:
    """References are free to send; what they mean together is bounded like a body."""
    state, caller = state_of(request), caller_of(request)
    items: list[InputItem | StoredItem] = []
    room = state.settings.max_body_bytes
    for index, item in enumerate(asked.input):
        if not isinstance(item, ItemReference):
            items.append(item)
            continue
        try:
            stored = state.responses.item(caller, item.id)
        except UnknownResponse as error:
            raise error.at(f"input[{index}].id") from None
        room -= stored.num_bytes
        if room < 0:
            limit = state.settings.max_body_bytes
            raise InvalidValue(f"The items named have more than {limit} bytes.", "input")
        items.append(stored)
    return items


def _history(request: Request, asked: ResponseRequest) -> list[InputItem]:
    state = state_of(request)
    try:
        turns = state.responses.conversation(
            caller_of(request), asked.previous_response_id, state.settings.max_body_bytes
        )
    except UnknownResponse as error:
        raise error.at("previous_response_id") from None
    return [stored.item for turn in turns for stored in turn.items]


def _answer(
    request: Request,
    asked: ResponseRequest,
    chat: ChatRequest,
    generation: Generation,
    kept: tuple[StoredItem, ...],
) -> ResponseAnswer:
    state, caller = state_of(request), caller_of(request)
    toolbox = Toolbox.of(chat)
    output = Output(toolbox.reader() if toolbox else None, asked.has_logprobs)
    heading = Heading(asked, chat, asked.model or state.holder.serving.model.id)

    def keep(response: dict[str, Any]) -> None:
        if asked.store:
            answered, previous = read_output(response["output"]), asked.previous_response_id
            stored = StoredResponse(heading.id, previous, to_json(response), kept, answered)
            state.responses.put(caller, stored)

    return ResponseAnswer(generation, heading, output, keep)


def _stream(request: Request, answer: ResponseAnswer) -> Response:
    request_id = log_of(request).request_id

    def failed(error: PandaError) -> bytes:
        return answer.failed(content_of(error, request_id)["error"]["message"])

    return streamed(request, answer.generation, answer.frames(), failed)


@router.get("/{response_id}", **describe(ResponseObject, errors=WRONG_QUERY))
async def retrieve_response(request: Request, response_id: str) -> Response:
    validated(RetrieveQuery, dict(request.query_params))
    stored = state_of(request).responses.get(caller_of(request), response_id)
    return Response(stored.response, media_type="application/json")


@router.delete("/{response_id}", **describe(DeletedResponse, errors=NO_BODY))
async def delete_response(request: Request, response_id: str) -> dict[str, Any]:
    state_of(request).responses.delete(caller_of(request), response_id)
    return {"id": response_id, "object": "response", "deleted": True}


@router.post("/{response_id}/cancel", **describe(ResponseObject, errors=WRONG_QUERY))
async def cancel_response(request: Request, response_id: str) -> Response:
    state_of(request).responses.get(caller_of(request), response_id)
    message = "Only responses created with 'background': true can be cancelled; this one has ended."
    raise InvalidValue(message, "response_id")


@router.get(
    "/{response_id}/input_items",
    **describe(InputItemList, query=InputItemsQuery, errors=WRONG_QUERY),
)
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


def _list(page: Sequence[StoredItem], rest: dict[str, Any]) -> Iterator[bytes]:
    """Item by item, since one may be as large as a request."""
    yield b'{"object":"list","data":['
    for index, item in enumerate(page):
        yield (b"," if index else b"") + listed(item.item)
    yield b"]," + to_json(rest)[1:]


def _place_of(item_id: str, items: Sequence[StoredItem]) -> int:
    for place, item in enumerate(items):
        if item.id == item_id:
            return place
    raise InvalidValue(f"No such item: '{item_id[:64]}'.", "after")
