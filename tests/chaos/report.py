"""What became of the requests of a run, and what the server was like at its end."""

from collections import Counter
from dataclasses import dataclass, field

from tests.chaos.questions import Verdict

MAX_SHOWN = 10


@dataclass(slots=True)
class Report:
    """A request may be sent again after an honest error, as OpenAI's client does it twice."""

    at_first: Counter[Verdict] = field(default_factory=Counter)
    in_the_end: Counter[Verdict] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    defects: list[str] = field(default_factory=list)
    num_pings: int = 0
    worst_ping_seconds: float = 0.0

    def count(self, first: Verdict, last: Verdict, what: str) -> None:
        self.at_first[first] += 1
        self.in_the_end[last] += 1
        if "wrong" in (first, last):
            self.wrong.append(what)

    @property
    def is_good(self) -> bool:
        return self.in_the_end["right"] > 0 and not self.wrong and not self.defects

    def __str__(self) -> str:
        lines = [
            f"{self.in_the_end.total()} requests, {len(self.wrong)} answered wrongly",
            f"answered right: {_share(self.at_first)} at once, "
            f"{_share(self.in_the_end)} with two repeats",
            f"liveness: {self.num_pings} pings, slowest {1000 * self.worst_ping_seconds:.0f} ms",
            *(f"{count} x {what}" for what, count in self.errors.most_common()),
            *self.defects,
            *(f"wrong: {what}" for what in self.wrong[:MAX_SHOWN]),
        ]
        return "\n".join(lines)


def _share(verdicts: Counter[Verdict]) -> str:
    return f"{100 * verdicts['right'] / max(1, verdicts.total()):.1f}%"
