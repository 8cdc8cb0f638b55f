"""How busy the engine is, and what it has done since it last told. Plain values, no torch."""

from dataclasses import dataclass, field

from pandagpt.media.modality import Modality


@dataclass(slots=True)
class Stats:
    """The first three are of now; the others grow until they are told, and begin again at nothing.

    Of media: `media_hits` needed no encoding of their own. Of prompts, in tokens: `prefix_hits`
    were in the prefix cache.
    """

    num_running: int = 0
    num_waiting: int = 0
    cache_usage: float = 0.0
    queue_seconds: list[float] = field(default_factory=list)
    encoder_seconds: list[tuple[Modality, float]] = field(default_factory=list)
    media_queries: int = 0
    media_hits: int = 0
    prefix_queries: int = 0
    prefix_hits: int = 0

    def began(self, queue_seconds: float, num_tokens: int, num_cached: int) -> None:
        self.queue_seconds.append(queue_seconds)
        self.prefix_queries += num_tokens
        self.prefix_hits += num_cached
