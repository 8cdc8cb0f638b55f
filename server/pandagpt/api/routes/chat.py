"""/v1/chat/completions: messages with media in, an answer out, whole or streamed."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from pandagpt.api.ask import ask, streamed
from pandagpt.api.body import read_body
from pandagpt.api.completion import ChunkStream, Heading, whole
from pandagpt.api.generation import Generation, unless_gone
from pandagpt.api.schemas.chat import ChatRequest, StreamOptions
from pandagpt.api.sse import EventStream
from pandagpt.api.state import state_of
from pandagpt.api.tools import Toolbox

router = APIRouter(prefix="/v1/chat", tags=["chat"])

EXAMPLE: dict[str, Any] = {
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}},
            ],
        }
    ]
}
BODY = {"required": True, "content": {"application/json": {"example": EXAMPLE}}}


@router.post("/completions", openapi_extra={"requestBody": BODY})
async def create_chat_completion(request: Request) -> Response:
    chat = await read_body(request, ChatRequest)
    generation = await unless_gone(request.receive, ask(request, chat))
    heading = Heading(chat.model or state_of(request).holder.serving.model.id)
    if chat.stream:
        return _stream(request, chat, generation, heading)
    try:
        answer = whole(generation, heading, chat.n, chat.logprobs, Toolbox.of(chat))
        return JSONResponse(await unless_gone(request.receive, answer))
    finally:
        generation.close()


def _stream(
    request: Request, chat: ChatRequest, generation: Generation, heading: Heading
) -> EventStream:
    options = chat.stream_options or StreamOptions()
    toolbox = Toolbox.of(chat)
    readers = [toolbox.reader() for _ in range(chat.n)] if toolbox else []
    chunks = ChunkStream(generation, heading, chat.n, chat.logprobs, options, readers)
    return streamed(request, generation, chunks.frames())
