"""One answer's text: tokens in, deltas out, and the decision when it is finished.

Knows the caller's wishes (stops, lengths) and the tokenizer; no scores, no rows, no torch.
"""

from dataclasses import dataclass, field

from pandagpt.engine.detokenizer import Detokenizer
from pandagpt.engine.request import Delta, FinishReason, SamplingParams, TokenLogprob
from pandagpt.engine.stop_matcher import StopMatcher
from pandagpt.model.tokenizer import Tokenizer


@dataclass(slots=True)
class Answer:
    """`max_tokens` is the caller's limit or what the context has left, whichever is less."""

    index: int
    params: SamplingParams
    tokenizer: Tokenizer
    max_tokens: int
    num_tokens: int = 0
    finish_reason: FinishReason | None = None
    _detokenizer: Detokenizer = field(init=False)
    _matchers: tuple[StopMatcher, ...] = field(init=False)
    _end_ids: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        params = self.params
        self._detokenizer = Detokenizer(self.tokenizer, params.skip_special_tokens)
        self._matchers = tuple(_matchers(params))
        ignores_eos = params.ignore_eos and params.grammar is None
        eos = () if ignores_eos else (self.tokenizer.eos_id,)
        self._end_ids = frozenset((*params.stop_token_ids, *eos))

    def append(
        self, token_id: int, logprob: TokenLogprob | None = None, is_complete: bool = False
    ) -> Delta:
        """`is_complete`: the grammar lets nothing follow this token."""
        self.num_tokens += 1
        ends = token_id in self._end_ids
        text = "" if ends and not self._shows(token_id) else self._detokenizer.feed(token_id)
        text = self._filter(text)
        self.finish_reason = self._finish_reason(ends or is_complete)
        if self.finish_reason is not None:
            text += self._flush()
        logprobs = () if logprob is None else (logprob,)
        return Delta(self.index, text, (token_id,), logprobs, self.finish_reason)

    def _shows(self, end_id: int) -> bool:
        return self.params.include_stop_str_in_output and end_id in self.params.stop_token_ids

    def _filter(self, text: str) -> str:
        for matcher in self._matchers:
            if self.num_tokens <= self.params.min_tokens:
                matcher.pass_by(text)
            else:
                text = matcher.feed(text)
        return text

    def _flush(self) -> str:
        """Text still held back, through the same matchers: its end may complete a stop."""
        text = self._filter(self._detokenizer.flush())
        for position, matcher in enumerate(self._matchers):
            rest = matcher.flush()
            for later in self._matchers[position + 1 :]:
                rest = later.feed(rest)
            text += rest
        return text

    def _finish_reason(self, ends: bool) -> FinishReason | None:
        if ends or any(matcher.is_matched for matcher in self._matchers):
            return "stop"
        return "length" if self.num_tokens >= self.max_tokens else None


def _matchers(params: SamplingParams) -> list[StopMatcher]:
    """The prompt format's own stop, which is never shown, then the caller's."""
    matchers = []
    if params.turn_stop and not params.ignore_eos:
        # As if a line break stood before the answer: its start is a line start too.
        matchers.append(StopMatcher(("\n" + params.turn_stop,), before="\n"))
    if params.stop:
        matchers.append(StopMatcher(params.stop, include=params.include_stop_str_in_output))
    return matchers
