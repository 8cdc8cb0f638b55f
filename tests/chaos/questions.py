"""Well-formed requests whose right answers are known, because they were answered before.

Text is chosen greedily, so that an answer is the same whoever is served beside it.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import numpy as np

from tests.fuzz.cases import MEDIA, TEXT, sample, user

Verdict = Literal["right", "error", "wrong"]
"""An honest error is one of OpenAI's shape that names our own fault or the load."""

HONEST = {500: "server_error", 503: "server_error"}
CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
Answer = str | list[np.ndarray]


@dataclass(frozen=True, slots=True)
class Question:
    path: str
    body: dict[str, Any]

    @property
    def is_streamed(self) -> bool:
        return bool(self.body.get("stream"))


@dataclass(frozen=True, slots=True)
class Reply:
    """`answer` may be the beginning of one, if `verdict` is `error`."""

    verdict: Verdict
    answer: Answer = ""
    what: str = ""
    retry_after_seconds: float = 0.0


def questions() -> list[Question]:
    """Half of them streamed; texts, each kind of medium, a form to keep to, embeddings."""
    texts = ["Hello", "What can you do?", "Tell me about a dog.", "What is a boat?", "Good bye"]
    chats = [_chat({"role": "user", "content": text}) for text in texts]
    chats += [_chat(user(sample(kind), TEXT)) for kind in MEDIA]
    chats += [_chat({"role": "user", "content": "One"}, response_format={"type": "json_object"})]
    chats += [_chat({"role": "user", "content": "A long story, please. " * 12}, max_tokens=24)]
    streamed = [Question(CHAT, chat.body | {"stream": True}) for chat in chats]
    embeddings = [Question(EMBEDDINGS, _embed(["a dog", "rain"]))]
    embeddings += [Question(EMBEDDINGS, _embed([{"content": [sample(kind)]}])) for kind in MEDIA]
    return [*chats, *streamed, *embeddings]


def _chat(message: dict[str, Any], **options: Any) -> Question:
    body = {"messages": [message], "temperature": 0, "max_tokens": 12, "min_tokens": 4}
    return Question(CHAT, body | options)


def _embed(items: list[Any]) -> dict[str, Any]:
    return {"input": items, "encoding_format": "base64"}


def ask(client: httpx.Client, question: Question) -> Reply:
    """Raises nothing: no reply, or one that breaks off, is a wrong one."""
    try:
        if question.is_streamed:
            return _ask_streamed(client, question)
        response = client.post(question.path, json=question.body)
        return _read(response)
    except (httpx.HTTPError, ValueError, KeyError) as error:
        return Reply("wrong", what=repr(error))


def leave_early(client: httpx.Client, question: Question) -> None:
    """After the first piece of an answer, as an impatient client does."""
    body = question.body | {"stream": True}
    with client.stream("POST", CHAT, json=body) as response:
        next(response.iter_raw(), None)


def judged(reply: Reply, expected: Answer) -> Reply:
    """The reply against the answer of calmer times."""
    if reply.verdict == "right" and not _same(reply.answer, expected):
        return Reply("wrong", reply.answer, f"{reply.answer!r} is not {expected!r}")
    is_beginning = isinstance(expected, list) or expected.startswith(str(reply.answer))
    if reply.verdict == "error" and not is_beginning:
        return Reply("wrong", reply.answer, f"{reply.answer!r} does not begin {expected!r}")
    return reply


def _same(found: Answer, expected: Answer) -> bool:
    """Vectors of one medium differ in their last digits, by who was encoded beside it."""
    if isinstance(found, str) or isinstance(expected, str):
        return found == expected
    pairs = zip(found, expected, strict=True)
    return all(np.allclose(one, other, atol=1e-3) for one, other in pairs)


def _read(response: httpx.Response) -> Reply:
    body = response.json()
    if response.status_code != 200:
        return _error(response.status_code, body, response.headers)
    if "choices" in body:
        return Reply("right", body["choices"][0]["message"]["content"])
    vectors = [np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in body["data"]]
    return Reply("right", vectors)


def _error(status: int, body: dict[str, Any], headers: httpx.Headers) -> Reply:
    error = body["error"]
    is_honest = HONEST.get(status) == error["type"] and error["message"]
    if status == 503 and "retry-after" not in headers:
        return Reply("wrong", what="503 without Retry-After")
    pause = float(headers.get("retry-after", 0))
    verdict: Verdict = "error" if is_honest else "wrong"
    message = error["message"].partition(" Request id:")[0]
    return Reply(verdict, what=f"{status} {message}", retry_after_seconds=pause)


def _ask_streamed(client: httpx.Client, question: Question) -> Reply:
    with client.stream("POST", question.path, json=question.body) as response:
        if response.status_code != 200:
            response.read()
            return _read(response)
        return read_stream(response.iter_lines())


def read_stream(lines: Iterator[str]) -> Reply:
    text, has_finished, error, is_done = "", False, "", False
    for line in lines:
        if not line.startswith("data: "):
            continue
        if line == "data: [DONE]":
            is_done = True
            continue
        event = json.loads(line.removeprefix("data: "))
        if "error" in event:
            error = event["error"]["message"]
            continue
        for choice in event["choices"]:
            text += choice["delta"].get("content") or ""
            has_finished |= choice["finish_reason"] is not None
    if error and is_done and not has_finished:
        return Reply("error", text, f"in a stream: {error.partition(' Request id:')[0]}")
    if has_finished and is_done and not error:
        return Reply("right", text)
    return Reply("wrong", text, "a stream that ended without a word")
