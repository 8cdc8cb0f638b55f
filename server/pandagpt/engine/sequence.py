"""One choice being generated, as the scheduler sees it: its tokens and how far they are computed.

Knows no text, no scores and no tensors.
"""

from dataclasses import dataclass, field

from pandagpt.engine.prefix_cache import Trail

NO_ROW = -1


@dataclass(slots=True, eq=False)
class Sequence:
    """`num_computed` positions of prompt and tokens have their keys and values in `row`;
    `num_cached` of them came from the prefix cache. `trail` says what the prompt consists of.
    `queued_at`, of a monotonic clock in seconds, is for whoever asks how long it has waited.
    One that was put back reads the tokens it had, `num_reread`, as the end of its prompt.
    """

    request_id: str
    index: int
    prompt_length: int
    row: int = NO_ROW
    num_computed: int = 0
    num_cached: int = 0
    num_reread: int = 0
    trail: Trail = field(default_factory=lambda: Trail("", []))
    token_ids: list[int] = field(default_factory=list)
    caller: str = ""
    queued_at: float = 0.0

    @property
    def has_row(self) -> bool:
        return self.row != NO_ROW

    @property
    def is_prefilled(self) -> bool:
        return self.num_computed >= self.prompt_length

    def start_again(self) -> None:
        """Its row is lost: prompt and tokens are to be read anew, after which it goes on."""
        self.prompt_length += len(self.token_ids) - self.num_reread
        self.num_reread = len(self.token_ids)
        self.num_computed = self.num_cached = 0
