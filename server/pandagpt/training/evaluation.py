"""What a toy-world bundle really does, measured through the serving engine.

A bundle in; shares of right answers out, and as tables into its model card.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pandagpt.engine.client import EngineClient
from pandagpt.engine.config import EngineConfig
from pandagpt.engine.local import LocalEngine
from pandagpt.engine.request import GenerateRequest, SamplingParams
from pandagpt.errors import CheckpointError
from pandagpt.model.checkpoint import load_bundle
from pandagpt.model.device import REFERENCE, Placement
from pandagpt.model.pandagpt import PandaGPT
from pandagpt.model.prompt import render
from pandagpt.training.exam import Item, items

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
MAX_ANSWER_TOKENS = 64
Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Score:
    right: int
    asked: int

    @property
    def share(self) -> float:
        return self.right / self.asked


Scores = Mapping[str, Mapping[str, Score]]
"""By group of questions, then by medium (or kind of plain text)."""


def evaluate(bundle: Path, num_items: int, log: Log, place: Placement = REFERENCE) -> Scores:
    """Asks everything of `exam` greedily; about `num_items` answers a cell."""
    model = load_bundle(bundle, place)
    config = EngineConfig()
    engine = EngineClient(LocalEngine(model, config), config)
    try:
        return asyncio.run(_examine(engine, model, config.max_rows, items(num_items), log))
    finally:
        engine.close()


async def _examine(
    engine: EngineClient, model: PandaGPT, max_rows: int, exam: Iterable[Item], log: Log
) -> Scores:
    right: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    permits = asyncio.Semaphore(2 * max_rows)

    async def take(number: int, item: Item) -> None:
        try:
            answer = await _answer(engine, model, f"exam-{number}", item)
        finally:
            permits.release()
        right[item.group][item.column].append(item.is_right(answer))
        if not item.is_right(answer):
            log(f"{item.group} | {item.column} | {item.turns[-1].parts[-1]} | {answer}")

    async with asyncio.TaskGroup() as group:
        for number, item in enumerate(exam):
            # Drawn in the exam's order, answered in any: this keeps the tables in order.
            right[item.group].setdefault(item.column, [])
            await permits.acquire()
            group.create_task(take(number, item))
    return {
        name: {column: Score(sum(each), len(each)) for column, each in row.items()}
        for name, row in right.items()
    }


async def _answer(engine: EngineClient, model: PandaGPT, request_id: str, item: Item) -> str:
    prompt = render(item.turns, model.tokenizer, item.fusion)
    params = SamplingParams(max_tokens=MAX_ANSWER_TOKENS, temperature=0.0)
    stream = engine.generate(GenerateRequest(request_id, prompt, item.media, params))
    return "".join([delta.text async for delta in stream]).strip()


def tables(scores: Scores) -> str:
    """Markdown: a row a group of questions, a column a medium."""
    parts = []
    plain = scores.get("plain text", {})
    media = {group: row for group, row in scores.items() if group != "plain text"}
    columns = list(dict.fromkeys(column for row in media.values() for column in row))
    parts.append(_table(["question", *columns], [_row(g, r, columns) for g, r in media.items()]))
    if plain:
        rows = [[name, _cell(score)] for name, score in plain.items()]
        parts.append(_table(["plain text, nothing attached", "right"], rows))
    return "\n\n".join(parts)


def _row(group: str, row: Mapping[str, Score], columns: Sequence[str]) -> list[str]:
    return [group, *(_cell(row[column]) if column in row else "" for column in columns)]


def _cell(score: Score) -> str:
    return f"{score.share:.3f} ({score.asked})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_results(card: Path, results: str) -> None:
    """Puts the tables between the card's markers."""
    text = card.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise CheckpointError(f"lacks the lines {BEGIN} and {END}", card)
    before, rest = text.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    card.write_text(f"{before}{BEGIN}\n{results}\n{END}{after}", encoding="utf-8")
