"""One response: the object that clients see of it at any moment, and all of its events."""

import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

from pandagpt.api.completion import encode
from pandagpt.api.generation import Generation, Usage
from pandagpt.api.responses.items import new_id
from pandagpt.api.responses.output import Event, Output
from pandagpt.api.schemas.chat import ChatRequest
from pandagpt.api.schemas.responses import FunctionTool, ResponseRequest, TextConfig
from pandagpt.api.sse import frame


@dataclass(frozen=True, slots=True)
class Heading:
    """What the object says from its beginning to its end."""

    asked: ResponseRequest
    chat: ChatRequest
    model: str
    id: str = field(default_factory=lambda: new_id("resp"))
    created_at: int = field(default_factory=lambda: int(time.time()))

    def fields(self) -> dict[str, Any]:
        asked = self.asked
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "model": self.model,
            "instructions": asked.instructions,
            "previous_response_id": asked.previous_response_id,
            "store": asked.store,
            "background": False,
            "service_tier": "default",
            "metadata": asked.metadata,
            **self._sampling(),
            "text": _text(asked.text),
            "tools": [_tool(tool) for tool in asked.tools],
            "tool_choice": _plain(asked.tool_choice),
            "parallel_tool_calls": self.chat.parallel_tool_calls,
            "max_tool_calls": asked.max_tool_calls,
            "truncation": asked.truncation,
            "reasoning": {"effort": None, "summary": None} | _plain(asked.reasoning or {}),
            "user": asked.user,
            "safety_identifier": asked.safety_identifier,
            "prompt_cache_key": asked.prompt_cache_key,
        }

    def _sampling(self) -> dict[str, Any]:
        asked = self.asked
        return {
            "temperature": asked.temperature,
            "top_p": asked.top_p,
            "presence_penalty": asked.presence_penalty,
            "frequency_penalty": asked.frequency_penalty,
            "top_logprobs": asked.top_logprobs or 0,
            "max_output_tokens": asked.max_output_tokens,
        }


@dataclass(slots=True)
class ResponseAnswer:
    """`on_end` gets the object before anybody is told that it is complete."""

    generation: Generation
    heading: Heading
    output: Output
    on_end: Callable[[dict[str, Any]], None]
    _num_events: int = 0

    async def whole(self) -> dict[str, Any]:
        last: Event = {}
        async for event in self.events():
            last = event
        return last["response"]

    async def frames(self) -> AsyncGenerator[bytes]:
        async for event in self.events():
            yield _framed(event)

    async def events(self) -> AsyncGenerator[Event]:
        begun = self._object("in_progress")
        yield self._numbered({"type": "response.created", "response": begun})
        yield self._numbered({"type": "response.in_progress", "response": begun})
        async for delta in self.generation.deltas():
            for event in self.output.feed(delta):
                yield self._numbered(event)
        status = "incomplete" if self.output.is_cut else "completed"
        ended = self._object(status, self.generation.usage)
        self.on_end(ended)
        yield self._numbered({"type": f"response.{status}", "response": ended})

    def failed(self, message: str) -> bytes:
        """The last frame of a stream that cannot go on."""
        error = {"code": "server_error", "message": message}
        failed = self._object("failed") | {"error": error}
        return _framed(self._numbered({"type": "response.failed", "response": failed}))

    def _object(self, status: str, usage: Usage | None = None) -> dict[str, Any]:
        is_cut = status == "incomplete"
        return {
            **self.heading.fields(),
            "status": status,
            "completed_at": int(time.time()) if status == "completed" else None,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "output": list(self.output.items),
            "usage": _usage(usage) if usage else None,
        }

    def _numbered(self, event: Event) -> Event:
        event["sequence_number"] = self._num_events
        self._num_events += 1
        return event


def _framed(event: Event) -> bytes:
    return frame(encode(event), event["type"])


def _usage(usage: Usage) -> dict[str, Any]:
    counts = usage.as_dict()
    return {
        "input_tokens": counts["prompt_tokens"],
        "input_tokens_details": {**counts["prompt_tokens_details"], "cache_write_tokens": 0},
        "output_tokens": counts["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": counts["total_tokens"],
    }


def _text(config: TextConfig) -> dict[str, Any]:
    return config.model_dump(by_alias=True, exclude_none=True)


def _tool(tool: FunctionTool) -> dict[str, Any]:
    return tool.model_dump() | {"strict": bool(tool.strict)}


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | dict) else value.model_dump()
