"""Deltas to OpenAI's chat completion: one whole body, or the frames of a stream.

Knows the wire's shape and nothing of how deltas come about.
"""

import json
import math
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pandagpt.api.errors import sse_data
from pandagpt.api.generation import Generation
from pandagpt.api.schemas.chat import StreamOptions
from pandagpt.api.sse import DONE, frame
from pandagpt.api.tools import CallPiece, CallReader, Piece, Toolbox
from pandagpt.engine.request import Delta, TokenLogprob
from pandagpt.errors import EngineFailure, PandaError
from pandagpt.logs import get_logger

# JSON has no infinity; vLLM writes the same number for a token that cannot come.
LEAST_LOGPROB = -9999.0

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Heading:
    """What every body of one answer begins with."""

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def fields(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


@dataclass(slots=True)
class _Choice:
    """`reader` tells calls from content; None: all is content."""

    reader: CallReader | None = None
    texts: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: str | None = None

    def add(self, delta: Delta) -> None:
        for piece in _pieces(delta, self.reader):
            if isinstance(piece, str):
                self.texts.append(piece)
            elif piece.id:
                self.calls.append(_call(piece))
            else:
                self.calls[piece.index]["function"]["arguments"] += piece.arguments
        self.logprobs += delta.logprobs
        self.finish_reason = _finish_reason(delta, self.reader) or self.finish_reason

    @property
    def message(self) -> dict[str, Any]:
        content = "".join(self.texts)
        message = {"role": "assistant", "content": content, "refusal": None}
        return message | {"content": None, "tool_calls": self.calls} if self.calls else message


def _pieces(delta: Delta, reader: CallReader | None) -> list[Piece]:
    if reader is None:
        return [delta.text]
    pieces = reader.feed(delta.text)
    return pieces + reader.flush() if delta.finish_reason else pieces


def _finish_reason(delta: Delta, reader: CallReader | None) -> str | None:
    if reader is None or delta.finish_reason != "stop":
        return delta.finish_reason
    return reader.finish_reason


def _call(piece: CallPiece) -> dict[str, Any]:
    function = {"name": piece.name, "arguments": piece.arguments}
    return {"id": piece.id, "type": "function", "function": function}


async def whole(
    generation: Generation,
    heading: Heading,
    n: int,
    logprobs: bool,
    toolbox: Toolbox | None = None,
) -> dict[str, Any]:
    choices = [_Choice(toolbox.reader() if toolbox else None) for _ in range(n)]
    async for delta in generation.deltas():
        choices[delta.index].add(delta)
    return {
        **heading.fields("chat.completion"),
        "choices": [_whole_choice(i, choice, logprobs) for i, choice in enumerate(choices)],
        "usage": generation.usage.as_dict(),
        "system_fingerprint": None,
    }


def _whole_choice(index: int, choice: _Choice, logprobs: bool) -> dict[str, Any]:
    return {
        "index": index,
        "message": choice.message,
        "logprobs": _logprobs(choice.logprobs) if logprobs else None,
        "finish_reason": choice.finish_reason,
    }


@dataclass(frozen=True, slots=True)
class ChunkStream:
    """The frames of one streamed answer, from the role to `[DONE]`.

    JSON is put together from text: of a token's way to the socket, encoding it as a dict
    took a fifth.
    """

    generation: Generation
    heading: Heading
    n: int
    logprobs: bool
    options: StreamOptions
    request_id: str
    readers: Sequence[CallReader] = ()
    """One for each choice where calls are allowed; else none."""

    async def frames(self) -> AsyncGenerator[bytes]:
        """An error after the 200 can only be told inside the stream."""
        start = encode(self.heading.fields("chat.completion.chunk"))[:-1]
        try:
            roles = (_choice(index, '{"role":"assistant","content":""}') for index in range(self.n))
            yield b"".join(self._chunk(start, role) for role in roles)
            async for delta in self.generation.deltas():
                if choices := self._choices(delta):
                    yield b"".join(self._chunk(start, choice) for choice in choices)
            yield self._end(start)
        except PandaError as error:
            yield frame(sse_data(error, self.request_id)) + DONE
        except Exception:
            get_logger().exception("stream failed", request_id=self.request_id)
            failure = EngineFailure("stream failed")
            yield frame(sse_data(failure, self.request_id)) + DONE

    def _choices(self, delta: Delta) -> list[str]:
        reader = self.readers[delta.index] if self.readers else None
        contents = self._contents(delta, reader)
        logprobs = encode(_logprobs(delta.logprobs)) if self.logprobs else "null"
        # What a delta's tokens have become may be several chunks; they stand in the first.
        choices = [
            _choice(delta.index, content, logprobs if i == 0 else "null")
            for i, content in enumerate(contents)
        ]
        if reason := _finish_reason(delta, reader):
            choices.append(_choice(delta.index, "{}", finish_reason=encode(reason)))
        return choices

    def _contents(self, delta: Delta, reader: CallReader | None) -> list[str]:
        has_logprobs = self.logprobs and bool(delta.logprobs)
        if reader is None:
            is_shown = delta.text or has_logprobs
            return [f'{{"content":{encode(delta.text)}}}'] if is_shown else []
        contents = [_content(piece) for piece in _pieces(delta, reader)]
        return contents or ["{}"] if has_logprobs else contents

    def _end(self, start: str) -> bytes:
        if not self.options.include_usage:
            return DONE
        return self._chunk(start, "", encode(self.generation.usage.as_dict())) + DONE

    def _chunk(self, start: str, choice: str, usage: str = "null") -> bytes:
        if self.options.continuous_usage_stats:
            usage = encode(self.generation.usage.as_dict())
        elif not self.options.include_usage:
            return frame(f'{start},"choices":[{choice}]}}')
        return frame(f'{start},"choices":[{choice}],"usage":{usage}}}')


def _content(piece: Piece) -> str:
    if isinstance(piece, str):
        return f'{{"content":{encode(piece)}}}'
    begun = _call(piece) if piece.id else {"function": {"arguments": piece.arguments}}
    return encode({"tool_calls": [{"index": piece.index, **begun}]})


def _choice(index: int, delta: str, logprobs: str = "null", finish_reason: str = "null") -> str:
    return (
        f'{{"index":{index},"delta":{delta},"logprobs":{logprobs},"finish_reason":{finish_reason}}}'
    )


def _logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    content = [
        {**_logprob(token), "top_logprobs": [_logprob(other) for other in token.top]}
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def _logprob(token: TokenLogprob) -> dict[str, Any]:
    value = token.logprob if math.isfinite(token.logprob) else LEAST_LOGPROB
    return {"token": token.text, "logprob": value, "bytes": list(token.data)}
