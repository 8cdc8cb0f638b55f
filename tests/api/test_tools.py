"""Calls as text: what is told, what is enforced, and what is read of it in any pieces."""

import json
import random
from typing import Any

import pytest

from pandagpt.api.schemas.chat import ChatRequest, ToolCall
from pandagpt.api.tools import CallPiece, CallReader, Piece, Toolbox, calls_text

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": CITY}}
TIME = {"type": "function", "function": {"name": "time", "description": "The time now."}}
CALLS = '[{"name":"weather","arguments":{"city":"}],\\"[{"}},{"name":"time","arguments":{}}]'
ARGUMENTS = ['{"city":"}],\\"[{"}', "{}"]


def toolbox(**fields: Any) -> Toolbox | None:
    body = {"messages": [{"role": "user", "content": "?"}], "tools": [WEATHER, TIME], **fields}
    return Toolbox.of(ChatRequest.model_validate(body))


def read(reader: CallReader, pieces: list[str]) -> list[Piece]:
    return [piece for text in pieces for piece in reader.feed(text)] + reader.flush()


def gathered(pieces: list[Piece]) -> tuple[str, list[tuple[str, str]]]:
    content, calls = "", list[tuple[str, str]]()
    for piece in pieces:
        if isinstance(piece, str):
            content += piece
        elif piece.id:
            assert (piece.index, piece.arguments) == (len(calls), "")
            calls.append((piece.name, ""))
        else:
            name, arguments = calls[piece.index]
            calls[piece.index] = (name, arguments + piece.arguments)
    return content, calls


def in_pieces(text: str, seed: int) -> list[str]:
    lot = random.Random(seed)
    cuts = sorted(lot.choices(range(len(text) + 1), k=lot.randrange(len(text))))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@pytest.mark.parametrize("seed", range(20))
def test_calls_are_read_in_any_pieces(seed: int) -> None:
    reader = CallReader(["weather", "time"])
    content, calls = gathered(read(reader, in_pieces(CALLS, seed)))
    assert content == ""
    assert calls == [("weather", ARGUMENTS[0]), ("time", ARGUMENTS[1])]
    assert reader.finish_reason == "tool_calls"


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    "text", ["Hello", '[{"name":"other","arguments":{}}]', '[{"name":"weath', "[", "", " " + CALLS]
)
def test_what_is_no_call_stays_content(text: str, seed: int) -> None:
    reader = CallReader(["weather", "time"])
    pieces = in_pieces(text, seed) if text else [""]
    assert gathered(read(reader, pieces)) == (text, [])
    assert reader.finish_reason == "stop"


def test_content_comes_at_once_where_it_can_be_no_call() -> None:
    reader = CallReader(["weather"])
    assert reader.feed("[") == []
    assert reader.feed("1") == ["[1"]
    assert reader.feed("2") == ["2"]


def test_a_call_cut_short_is_no_content_where_calls_are_a_must() -> None:
    reader = CallReader(["weather"], must_call=True)
    assert read(reader, ['[{"name":"wea']) == []
    reader = CallReader(["weather"], must_call=True)
    pieces = read(reader, ['[{"name":"weather","arguments":{"ci'])
    assert gathered(pieces) == ("", [("weather", '{"ci')])


def test_ids_are_distinct_and_openai_s() -> None:
    pieces = read(CallReader(["weather", "time"]), [CALLS])
    ids = [piece.id for piece in pieces if isinstance(piece, CallPiece) and piece.id]
    assert len(set(ids)) == 2
    assert all(one.startswith("call_") for one in ids)


def test_earlier_calls_are_told_as_they_were_written() -> None:
    functions = [{"name": "weather", "arguments": ARGUMENTS[0]}, {"name": "time", "arguments": ""}]
    calls = [ToolCall.model_validate({"id": "a", "function": one}) for one in functions]
    assert calls_text(calls) == CALLS
    assert json.loads(CALLS)[1]["arguments"] == {}


@pytest.mark.parametrize(
    ("fields", "names", "must_call", "num_calls"),
    [
        ({}, ["weather", "time"], False, 1),
        ({"parallel_tool_calls": True}, ["weather", "time"], False, 4),
        ({"tool_choice": "required"}, ["weather", "time"], True, 1),
        ({"tool_choice": {"type": "function", "function": {"name": "time"}}}, ["time"], True, 1),
    ],
)
def test_what_may_be_called(
    fields: dict[str, Any], names: list[str], must_call: bool, num_calls: int
) -> None:
    box = toolbox(**fields)
    assert box is not None
    assert [function.name for function in box.functions] == names
    assert (box.must_call, box.max_calls) == (must_call, num_calls)


def test_no_calls() -> None:
    assert toolbox(tool_choice="none") is None
    assert toolbox(tools=[]) is None


def test_the_model_is_told_of_each_function() -> None:
    box = toolbox()
    assert box is not None
    assert "weather(city: string)\ntime(): The time now.\n" in box.instruction
