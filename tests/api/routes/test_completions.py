"""/v1/completions over the golden model: shapes, equality with chat, several prompts, refusals."""

import json
from typing import Any

import httpx
import pytest

from pandagpt.api.serving import ServedModel
from pandagpt.model.prompt import Turn, render
from pandagpt.model.tokenizer import Tokenizer
from tests.api.conftest import ScriptedEngine

COMPLETIONS = "/v1/completions"
TEXT = "The frog is"


def asked(**fields: Any) -> dict[str, Any]:
    return {"prompt": TEXT, "temperature": 0, "max_tokens": 8, **fields}


def post(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    response = client.post(COMPLETIONS, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def chunks(client: httpx.Client, body: dict[str, Any]) -> list[dict[str, Any]]:
    response = client.post(COMPLETIONS, json=body | {"stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, done, rest = response.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


def refusal(client: httpx.Client, body: dict[str, Any]) -> tuple[str, str]:
    response = client.post(COMPLETIONS, json=body)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    return error["code"], error["param"]


def test_whole(live: httpx.Client) -> None:
    body = post(live, asked(ignore_eos=True))
    assert body["id"].startswith("cmpl-")
    assert (body["object"], body["model"]) == ("text_completion", "golden")
    (choice,) = body["choices"]
    assert choice.keys() == {"index", "text", "logprobs", "finish_reason"}
    assert (choice["index"], choice["logprobs"], choice["finish_reason"]) == (0, None, "length")
    assert choice["text"]
    assert body["usage"]["completion_tokens"] == 8


def test_the_default_is_sixteen_tokens(live: httpx.Client) -> None:
    body = post(live, {"prompt": TEXT, "ignore_eos": True})
    assert body["usage"]["completion_tokens"] == 16


def test_streamed_equals_whole(live: httpx.Client) -> None:
    (choice,) = post(live, asked(logprobs=2))["choices"]
    *pieces, last = chunks(live, asked(logprobs=2, stream_options={"include_usage": True}))
    assert "".join(piece["choices"][0]["text"] for piece in pieces) == choice["text"]
    assert [piece["choices"][0]["finish_reason"] for piece in pieces][-1] == choice["finish_reason"]
    assert all(piece["usage"] is None for piece in pieces)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == len(choice["logprobs"]["tokens"])
    for name, values in choice["logprobs"].items():
        assert [v for piece in pieces for v in piece["choices"][0]["logprobs"][name]] == values


def test_usage_may_come_with_every_chunk(live: httpx.Client) -> None:
    stream = chunks(live, asked(stream_options={"continuous_usage_stats": True}))
    counts = [chunk["usage"]["completion_tokens"] for chunk in stream]
    assert counts == sorted(counts) != []


def test_logprobs(live: httpx.Client) -> None:
    for wanted in (0, 3):
        (choice,) = post(live, asked(logprobs=wanted))["choices"]
        logprobs = choice["logprobs"]
        assert logprobs.keys() == {"tokens", "token_logprobs", "top_logprobs", "text_offset"}
        assert len({len(values) for values in logprobs.values()}) == 1
        assert logprobs["text_offset"][:2] == [0, len(logprobs["tokens"][0])]
        for token, value, top in zip(
            logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True
        ):
            assert top[token] == value <= 0
            assert len(top) <= max(1, wanted)


def test_token_ids_are_the_same_prompt(live: httpx.Client, tokenizer: Tokenizer) -> None:
    ids = [tokenizer.bos_id, *tokenizer.encode(TEXT)]
    whole = post(live, asked())
    assert post(live, asked(prompt=ids))["choices"] == whole["choices"]
    assert post(live, asked(prompt=[ids]))["usage"]["prompt_tokens"] == len(ids)
    bare = post(live, asked(add_special_tokens=False))
    assert bare["usage"]["prompt_tokens"] == len(ids) - 1


def test_the_rendered_prompt_of_a_chat_is_answered_as_the_chat(
    live: httpx.Client, tokenizer: Tokenizer
) -> None:
    prompt = render([Turn("user", (TEXT,))], tokenizer, "sum")
    raw = post(live, asked(prompt=list(prompt.token_ids), logprobs=0, ignore_eos=True))
    messages = [{"role": "user", "content": TEXT}]
    body = {"messages": messages, "temperature": 0, "max_tokens": 8, "logprobs": True}
    chat = live.post("/v1/chat/completions", json=body | {"ignore_eos": True}).json()
    tokens = [token["token"] for token in chat["choices"][0]["logprobs"]["content"]]
    assert raw["choices"][0]["logprobs"]["tokens"] == tokens
    assert raw["choices"][0]["text"] == chat["choices"][0]["message"]["content"]
    assert raw["usage"] == chat["usage"]


def test_several_prompts_and_choices(live: httpx.Client) -> None:
    prompts = [TEXT, "Why?", "A red car and"]
    alone = [post(live, asked(prompt=prompt))["choices"][0]["text"] for prompt in prompts]
    together = post(live, asked(prompt=prompts, n=2))
    assert [choice["index"] for choice in together["choices"]] == list(range(6))
    texts = [choice["text"] for choice in together["choices"]]
    assert texts == [text for text in alone for _ in range(2)]
    stream = chunks(live, asked(prompt=prompts, n=2))
    pieces = [choice for chunk in stream for choice in chunk["choices"]]
    for index, text in enumerate(texts):
        assert "".join(piece["text"] for piece in pieces if piece["index"] == index) == text
    assert sum(piece["finish_reason"] is not None for piece in pieces) == 6


def test_echo(live: httpx.Client, tokenizer: Tokenizer) -> None:
    text = post(live, asked())["choices"][0]["text"]
    assert post(live, asked(echo=True))["choices"][0]["text"] == TEXT + text
    ids = [tokenizer.bos_id, *tokenizer.encode(TEXT)]
    assert post(live, asked(echo=True, prompt=ids))["choices"][0]["text"] == TEXT + text
    stream = chunks(live, asked(echo=True, prompt=[TEXT, "Why?"]))
    first = [c["text"] for chunk in stream for c in chunk["choices"] if c["index"] == 0]
    assert "".join(first) == TEXT + text


def test_stop(live: httpx.Client) -> None:
    text = post(live, asked())["choices"][0]["text"]
    (choice,) = post(live, asked(stop=text[2:4]))["choices"]
    assert (choice["text"], choice["finish_reason"]) == (text[: text.index(text[2:4])], "stop")


async def test_no_turn_ends_raw_text(
    client: httpx.AsyncClient, engine: ScriptedEngine, served_model: ServedModel
) -> None:
    await client.post(COMPLETIONS, json={"prompt": "### Human:"})
    (request,) = engine.requests
    assert request.params.turn_stop == ""
    tokenizer = served_model.tokenizer
    assert request.prompt.token_ids == (tokenizer.bos_id, *tokenizer.encode("### Human:"))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"prompt": None}, ("missing_required_parameter", "prompt")),
        ({"prompt": 5}, ("invalid_value", "prompt")),
        ({"prompt": []}, ("invalid_value", "prompt")),
        ({"prompt": [[]]}, ("invalid_value", "prompt[0]")),
        ({"prompt": [TEXT, 5]}, ("invalid_value", "prompt[1]")),
        ({"prompt": [TEXT, [1, "a"]]}, ("invalid_value", "prompt[1][1]")),
        ({"prompt": [1.5]}, ("invalid_value", "prompt[0]")),
        ({"prompt": [-1]}, ("invalid_value", "prompt[0]")),
        ({"prompt": [999999]}, ("invalid_value", "prompt")),
        ({"prompt": ["a", [999999]]}, ("invalid_value", "prompt[1]")),
        ({"prompt": "a" * 10**6}, ("context_length_exceeded", "prompt")),
        ({"prompt": "", "add_special_tokens": False}, ("invalid_value", "prompt")),
        ({"prompt": ["a"] * 129}, ("invalid_value", "prompt")),
        ({"prompt": ["a", "b"], "n": 65}, ("invalid_value", "n")),
        ({"max_tokens": 0}, ("invalid_value", "max_tokens")),
        ({"max_tokens": 10**9}, ("invalid_value", "max_tokens")),
        ({"logprobs": 6}, ("invalid_value", "logprobs")),
        ({"logprobs": True}, ("invalid_value", "logprobs")),
        ({"echo": True, "logprobs": 1}, ("unsupported_value", "logprobs")),
        ({"best_of": 2}, ("unsupported_value", "best_of")),
        ({"suffix": "."}, ("unsupported_value", "suffix")),
        ({"stream_options": {"include_usage": True}}, ("invalid_value", "stream_options")),
        ({"logit_bias": {"999999": 1}}, ("invalid_value", "logit_bias")),
    ],
)
def test_refusals(live: httpx.Client, fields: dict[str, Any], expected: tuple[str, str]) -> None:
    assert refusal(live, asked(**fields)) == expected


def test_an_empty_prompt_is_the_beginning_of_any_text(live: httpx.Client) -> None:
    assert post(live, asked(prompt=""))["usage"]["prompt_tokens"] == 1
