"""How many requests a minute a caller may send: a bucket that fills as time goes by.

Knows no HTTP but the names of OpenAI's headers. Lives in one event loop.
"""

import math
import time
from dataclasses import dataclass, field

from pandagpt.errors import RateLimited


@dataclass(slots=True)
class Bucket:
    """Full at first: a minute's requests may come at once, and no more than that."""

    per_minute: int
    level: float = field(init=False)
    filled_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.level = float(self.per_minute)
        self.filled_at = time.monotonic()

    def take(self) -> None:
        """Raises RateLimited."""
        now = time.monotonic()
        self.level = min(self.per_minute, self.level + (now - self.filled_at) * self.per_second)
        self.filled_at = now
        if self.level < 1:
            raise RateLimited(
                f"Rate limit reached: {self.per_minute} requests per minute. Try again later.",
                retry_after_seconds=math.ceil((1 - self.level) / self.per_second),
            )
        self.level -= 1

    @property
    def per_second(self) -> float:
        return self.per_minute / 60

    def headers(self) -> dict[str, str]:
        reset_seconds = (self.per_minute - self.level) / self.per_second
        return {
            "x-ratelimit-limit-requests": str(self.per_minute),
            "x-ratelimit-remaining-requests": str(int(self.level)),
            "x-ratelimit-reset-requests": f"{reset_seconds:.3f}s",
        }
