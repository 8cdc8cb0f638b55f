"""What was measured, beside goals and floors: as Markdown for people, as JSON for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """`goal` is what the value must not exceed, or reach: `less` says which. None: no goal."""

    name: str
    value: float | str
    goal: float | None = None
    floor: float | None = None
    less: bool = True

    @property
    def verdict(self) -> str:
        if self.goal is None or isinstance(self.value, str):
            return ""
        reached = self.value <= self.goal if self.less else self.value >= self.goal
        return "reached" if reached else "missed"


@dataclass(frozen=True, slots=True)
class Report:
    """Rewritten after each row, so that a run that ends early leaves what it has."""

    path: Path
    title: str
    command: str

    def write(self, rows: Sequence[Row]) -> str:
        """The Markdown that was written."""
        head = f"{self.title}\n\n`{self.command}`\n\n"
        head += "| | measured | goal | | floor |\n|---|---|---|---|---|\n"
        text = head + "".join(_line(row) for row in rows)
        data = {"title": self.title, "command": self.command, "rows": [asdict(r) for r in rows]}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.with_suffix(".md").write_text(text)
        self.path.with_suffix(".json").write_text(json.dumps(data, indent=1))
        return text


def _line(row: Row) -> str:
    sign = "<=" if row.less else ">="
    goal = "" if row.goal is None else f"{sign} {_shown(row.goal)}"
    floor = "" if row.floor is None else _shown(row.floor)
    return f"| {row.name} | {_shown(row.value)} | {goal} | {row.verdict} | {floor} |\n"


def _shown(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
