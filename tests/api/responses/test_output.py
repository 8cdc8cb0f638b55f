"""Deltas to items and events, without a server."""

from typing import Any

from pandagpt.api.responses.output import Output
from pandagpt.api.tools import CallReader
from pandagpt.engine.request import Delta, FinishReason, TokenLogprob


def fed(output: Output, *texts: str, end: FinishReason = "stop") -> list[dict[str, Any]]:
    deltas = [Delta(0, text, (1,)) for text in texts[:-1]]
    deltas.append(Delta(0, texts[-1], (1,), finish_reason=end))
    return [event for delta in deltas for event in output.feed(delta)]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_a_message() -> None:
    output = Output(None, has_logprobs=False)
    events = fed(output, "Hel", "", "lo")
    assert kinds(events) == [
        *("output_item.added", "content_part.added"),
        *("output_text.delta", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done"),
    ]
    assert events[0]["item"]["content"] == []
    assert events[1]["part"]["text"] == ""
    assert output.items == [events[-1]["item"]]
    assert output.items[0]["content"][0]["text"] == "Hello"
    assert not output.is_cut


def test_an_answer_without_text_is_an_empty_message() -> None:
    output = Output(None, has_logprobs=False)
    events = fed(output, "")
    assert kinds(events) == [
        *("output_item.added", "content_part.added"),
        *("output_text.done", "content_part.done", "output_item.done"),
    ]
    assert output.items[0]["status"] == "completed"


def test_a_cut_message() -> None:
    output = Output(None, has_logprobs=False)
    fed(output, "Hel", end="length")
    assert output.is_cut
    assert output.items[0]["status"] == "incomplete"


def test_calls() -> None:
    output = Output(CallReader(["f", "g"]), has_logprobs=False)
    text = '[{"name":"f","arguments":{"a":1}},{"name":"g","arguments":{}}]'
    events = fed(output, *text)
    first, second = output.items
    assert (first["name"], first["arguments"]) == ("f", '{"a":1}')
    assert (second["name"], second["arguments"]) == ("g", "{}")
    assert first["call_id"] != second["call_id"]
    assert {event["output_index"] for event in events} == {0, 1}
    done = [event for event in events if event["type"].endswith("arguments.done")]
    assert [event["arguments"] for event in done] == ['{"a":1}', "{}"]
    for index, item in enumerate(output.items):
        deltas = [e["delta"] for e in events if "delta" in e and e["output_index"] == index]
        assert "".join(deltas) == item["arguments"]


def test_a_cut_call() -> None:
    output = Output(CallReader(["f"]), has_logprobs=False)
    fed(output, '[{"name":"f","argu', 'ments":{"a":', end="length")
    assert (output.items[0]["arguments"], output.items[0]["status"]) == ('{"a":', "incomplete")


def test_text_where_a_call_was_possible() -> None:
    output = Output(CallReader(["f"]), has_logprobs=False)
    fed(output, "[", "1", "]")
    assert output.items[0]["content"][0]["text"] == "[1]"


def test_logprobs_of_text_that_is_held_back_are_not_lost() -> None:
    output = Output(None, has_logprobs=True)
    tokens = [TokenLogprob(i, "x", b"x", -1.0) for i in range(3)]
    deltas = [
        Delta(0, "", (1,), (tokens[0],)),
        Delta(0, "a", (1,), (tokens[1],)),
        Delta(0, "", (1,), (tokens[2],), "stop"),
    ]
    events = [event for delta in deltas for event in output.feed(delta)]
    sent = [len(event["logprobs"]) for event in events if "delta" in event]
    assert sent == [2, 1]
    assert len(output.items[0]["content"][0]["logprobs"]) == 3
