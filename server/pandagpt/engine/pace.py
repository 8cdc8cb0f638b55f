"""How many tokens a step may compute, so that running streams never wait long for it.

Seconds of past steps in, a number of tokens out. Plain Python.
"""

import math
from time import perf_counter

# Fewer tokens tell the cost of a step, not that of a token.
_FEWEST = 16
# Of the newest step in the running mean.
_WEIGHT = 0.3


class Pace:
    def __init__(self, max_step_seconds: float, max_step_tokens: int) -> None:
        self.max_step_seconds = max_step_seconds
        self.max_step_tokens = max_step_tokens
        self._token_seconds = 0.0
        self.forget()

    def budget(self, num_decodes: int) -> int:
        """Nobody waits: all that a step may hold. Else what the time allows, but at least as
        many prompt tokens as there are streams, or new requests would starve behind them.
        """
        if not num_decodes or not self._token_seconds:
            return self.max_step_tokens
        in_time = int(self.max_step_seconds / self._token_seconds)
        return min(self.max_step_tokens, max(in_time, 2 * num_decodes, num_decodes + _FEWEST))

    def observe(self, num_tokens: int, seconds: float) -> None:
        if num_tokens < _FEWEST:
            return
        cost = seconds / num_tokens
        old = self._token_seconds or cost
        self._token_seconds = old + _WEIGHT * (cost - old)

    def launched(self, num_tokens: int, start: float) -> None:
        """A step began at `start`; a GPU may compute on for long, so only `finished` times it."""
        self._num_launched += num_tokens
        self._start = min(self._start, start)

    def finished(self) -> None:
        """The tokens of all steps that were launched are here."""
        self.observe(self._num_launched, perf_counter() - self._start)
        self.forget()

    def forget(self) -> None:
        """Of steps that were launched nothing will come."""
        self._num_launched = 0
        self._start = math.inf
