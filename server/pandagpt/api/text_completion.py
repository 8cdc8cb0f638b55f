"""Deltas to OpenAI's completion of raw text: one whole body, or the frames of a stream."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pandagpt.api.completion import Heading, encode, finite
from pandagpt.api.generation import Generation
from pandagpt.api.schemas.chat import StreamOptions
from pandagpt.api.sse import DONE, frame
from pandagpt.engine.request import Delta, TokenLogprob

KIND = "text_completion"


@dataclass(slots=True)
class _Choice:
    """`num_chars`: of the tokens so far, which tells where the next one begins."""

    text: str = ""
    num_chars: int = 0
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: str | None = None

    def place(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
        """OpenAI's four lists of one entry a token."""
        offsets = []
        for token in tokens:
            offsets.append(self.num_chars)
            self.num_chars += len(token.text)
        return {
            "tokens": [token.text for token in tokens],
            "token_logprobs": [finite(token.logprob) for token in tokens],
            "top_logprobs": [_top(token) for token in tokens],
            "text_offset": offsets,
        }


def _top(token: TokenLogprob) -> dict[str, float]:
    """The chosen token's too, whether or not it is one of the likeliest."""
    return {each.text: finite(each.logprob) for each in (*token.top, token)}


@dataclass(frozen=True, slots=True)
class TextAnswer:
    """`echoed`: what each choice begins with, which is empty unless the prompt is repeated."""

    generation: Generation
    heading: Heading
    echoed: Sequence[str]
    logprobs: bool

    async def whole(self) -> dict[str, Any]:
        choices = [_Choice(text) for text in self.echoed]
        tokens: list[list[TokenLogprob]] = [[] for _ in choices]
        async for delta in self.generation.deltas():
            choice = choices[delta.index]
            choice.text += delta.text
            choice.finish_reason = delta.finish_reason or choice.finish_reason
            tokens[delta.index] += delta.logprobs
        return {
            **self.heading.fields(KIND),
            "choices": [
                _written(i, c.text, c.place(tokens[i]) if self.logprobs else None, c.finish_reason)
                for i, c in enumerate(choices)
            ],
            "usage": self.generation.usage.as_dict(),
            "system_fingerprint": None,
        }

    async def frames(self, options: StreamOptions) -> AsyncGenerator[bytes]:
        choices = [_Choice() for _ in self.echoed]
        for index, text in enumerate(self.echoed):
            if text:
                yield self._chunk([_written(index, text)], options)
        async for delta in self.generation.deltas():
            if delta.text or delta.finish_reason or self.logprobs:
                yield self._chunk([self._piece(delta, choices[delta.index])], options)
        if options.include_usage:
            body = self.heading.fields(KIND) | {"choices": []}
            yield frame(encode(body | {"usage": self.generation.usage.as_dict()}))
        yield DONE

    def _piece(self, delta: Delta, choice: _Choice) -> dict[str, Any]:
        logprobs = choice.place(delta.logprobs) if self.logprobs else None
        return _written(delta.index, delta.text, logprobs, delta.finish_reason)

    def _chunk(self, choices: list[dict[str, Any]], options: StreamOptions) -> bytes:
        body: dict[str, Any] = {**self.heading.fields(KIND), "choices": choices}
        if options.continuous_usage_stats:
            body["usage"] = self.generation.usage.as_dict()
        elif options.include_usage:
            body["usage"] = None
        return frame(encode(body))


def _written(
    index: int,
    text: str,
    logprobs: dict[str, Any] | None = None,
    finish_reason: str | None = None,
) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}
