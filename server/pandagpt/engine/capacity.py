"""How many answers are generated at once: what memory has room for, and what pays.

Numbers in, numbers out.
"""

from dataclasses import dataclass
from typing import Self

MOST_ROWS = {"cpu": 32, "cuda": 128}
"""Where nobody asks for a number. More rows than these only make each answer slower."""

SHARE = {"cpu": 0.5, "cuda": 0.85}
"""Of the free memory, for keys and values; the rest is for activations and for others."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """`rows` answers of `max_model_len` tokens, each token with `token_bytes` of keys and values.

    Printed at the start, in one line.
    """

    rows: int
    max_model_len: int
    token_bytes: int

    @classmethod
    def fitting(
        cls, device: str, wanted: int | None, max_model_len: int, token_bytes: int, free_bytes: int
    ) -> Self:
        """At most `wanted` rows, and one even where there seems to be no room."""
        room = int(free_bytes * SHARE[device]) // (max_model_len * token_bytes)
        return cls(max(1, min(wanted or MOST_ROWS[device], room)), max_model_len, token_bytes)

    def __str__(self) -> str:
        num_tokens = self.rows * self.max_model_len
        megabytes = num_tokens * self.token_bytes / 2**20
        return (
            f"{self.rows} rows x {self.max_model_len} tokens = {num_tokens} tokens, "
            f"{megabytes:.0f} MiB when full"
        )
