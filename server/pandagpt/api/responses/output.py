"""Deltas to output items: a message or calls of functions, and the events that tell of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pandagpt.api.completion import logprob_entries, pieces_of
from pandagpt.api.responses.items import new_id
from pandagpt.api.tools import CallPiece, CallReader
from pandagpt.engine.request import Delta

Event = dict[str, Any]
Entries = list[dict[str, Any]]


@dataclass(slots=True)
class Output:
    """`reader` tells calls from text; None: all is text. Events have no number yet."""

    reader: CallReader | None
    has_logprobs: bool
    items: list[dict[str, Any]] = field(default_factory=list)
    is_cut: bool = False
    _open: "_Message | _Call | None" = None
    _logprobs: Entries = field(default_factory=list)
    """Of tokens whose text is still to come."""

    def feed(self, delta: Delta) -> Iterator[Event]:
        if self.has_logprobs:
            self._logprobs += logprob_entries(delta.logprobs)
        for piece in pieces_of(delta, self.reader):
            if isinstance(piece, CallPiece):
                yield from self._read_call(piece)
            elif piece:
                yield from self._read_text(piece)
        if delta.finish_reason:
            self.is_cut = delta.finish_reason == "length"
            if self._open is None or (self._logprobs and isinstance(self._open, _Message)):
                yield from self._read_text("")
            yield from self._close("incomplete" if self.is_cut else "completed")

    def _read_text(self, text: str) -> Iterator[Event]:
        if not isinstance(self._open, _Message):
            yield from self._close("completed")
            self._open = _Message(len(self.items))
            yield from self._open.begin()
        logprobs, self._logprobs = self._logprobs, []
        if text or logprobs:
            yield self._open.add(text, logprobs)

    def _read_call(self, piece: CallPiece) -> Iterator[Event]:
        if piece.id:
            yield from self._close("completed")
            self._open = _Call(len(self.items), piece.id, piece.name)
            yield self._open.begin()
        assert isinstance(self._open, _Call)
        if piece.arguments:
            yield self._open.add(piece.arguments)

    def _close(self, status: str) -> Iterator[Event]:
        if self._open is None:
            return
        yield from self._open.end()
        item = self._open.item(status)
        self.items.append(item)
        yield {"type": "response.output_item.done", "output_index": self._open.index, "item": item}
        self._open = None


@dataclass(slots=True)
class _Message:
    index: int
    id: str = field(default_factory=lambda: new_id("msg"))
    _texts: list[str] = field(default_factory=list)
    _logprobs: Entries = field(default_factory=list)

    def begin(self) -> Iterator[Event]:
        empty = self.item("in_progress") | {"content": []}
        yield {"type": "response.output_item.added", "output_index": self.index, "item": empty}
        yield self._event("content_part.added", part=self._part)

    def add(self, text: str, logprobs: Entries) -> Event:
        self._texts.append(text)
        self._logprobs += logprobs
        return self._event("output_text.delta", delta=text, logprobs=logprobs)

    def end(self) -> Iterator[Event]:
        part = self._part
        yield self._event("output_text.done", text=part["text"], logprobs=part["logprobs"])
        yield self._event("content_part.done", part=part)

    def item(self, status: str) -> dict[str, Any]:
        content = [self._part]
        base = {"id": self.id, "type": "message", "status": status, "role": "assistant"}
        return {**base, "content": content}

    @property
    def _part(self) -> dict[str, Any]:
        text, logprobs = "".join(self._texts), list(self._logprobs)
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}

    def _event(self, kind: str, **fields: Any) -> Event:
        place = {"item_id": self.id, "output_index": self.index, "content_index": 0}
        return {"type": f"response.{kind}", **place, **fields}


@dataclass(slots=True)
class _Call:
    index: int
    call_id: str
    name: str
    id: str = field(default_factory=lambda: new_id("fc"))
    _arguments: list[str] = field(default_factory=list)

    def begin(self) -> Event:
        item = self.item("in_progress")
        return {"type": "response.output_item.added", "output_index": self.index, "item": item}

    def add(self, arguments: str) -> Event:
        self._arguments.append(arguments)
        return self._event("delta", delta=arguments)

    def end(self) -> Iterator[Event]:
        yield self._event("done", name=self.name, arguments="".join(self._arguments))

    def item(self, status: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "function_call",
            "status": status,
            "call_id": self.call_id,
            "name": self.name,
            "arguments": "".join(self._arguments),
        }

    def _event(self, kind: str, **fields: Any) -> Event:
        place = {"item_id": self.id, "output_index": self.index}
        return {"type": f"response.function_call_arguments.{kind}", **place, **fields}
