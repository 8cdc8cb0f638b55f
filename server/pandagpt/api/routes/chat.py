"""/v1/chat/completions: messages with media in, an answer out, whole or streamed."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from pandagpt.api.ask import ask, streamed
from pandagpt.api.body import read_body
from pandagpt.api.completion import ChunkStream, Heading, whole
from pandagpt.api.generation import Generation, unless_gone
from pandagpt.api.openapi import describe
from pandagpt.api.schemas.answers import ChatCompletion, ChatCompletionChunk
from pandagpt.api.schemas.chat import ChatRequest, StreamOptions
from pandagpt.api.sse import EventStream
from pandagpt.api.state import state_of
from pandagpt.api.tools import Toolbox

router = APIRouter(prefix="/v1/chat", tags=["chat"])

EXAMPLES: dict[str, Any] = {
    "A sound": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "audio_url", "audio_url": {"url": "sample://frog.wav"}},
                    {"type": "text", "text": "What can you hear?"},
                ],
            }
        ],
        "temperature": 0,
    },
    "A streamed answer": {
        "messages": [{"role": "user", "content": "What does a frog do?"}],
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    },
    "A picture and a sound": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "sample://red_car.png"}},
                    {"type": "audio_url", "audio_url": {"url": "sample://frog.wav"}},
                    {"type": "text", "text": "What do you notice?"},
                ],
            }
        ],
        "fusion": "interleave",
        "temperature": 0,
    },
    "A tool, streamed": {
        "messages": [{"role": "user", "content": "What is it?"}],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "report",
                    "parameters": {
                        "type": "object",
                        "properties": {"thing": {"enum": ["bird", "car", "frog"]}},
                        "required": ["thing"],
                    },
                },
            }
        ],
        "tool_choice": "required",
        "temperature": 0,
        "stream": True,
    },
    "A schema": {
        "messages": [{"role": "user", "content": "What is it?"}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "thing", "schema": {"enum": ["bird", "car", "frog"]}},
        },
        "temperature": 0,
    },
}


@router.post(
    "/completions",
    **describe(ChatCompletion, ChatRequest, EXAMPLES, chunk=ChatCompletionChunk),
)
async def create_chat_completion(request: Request) -> Response:
    """A conversation with media in, an answer out, whole or streamed."""
    chat = await read_body(request, ChatRequest)
    asking = ask(request, chat, is_whole=not chat.stream)
    generation = await unless_gone(request.receive, asking)
    # They may hold a body of many megabytes, and the answer may take minutes.
    chat = chat.model_copy(update={"messages": []})
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
