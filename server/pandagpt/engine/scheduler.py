"""Who is computed in the next step, and in which row: plain Python, no tensors.

Sequences in, a `Plan` out. Rows stay compact: the sequences that decode fill rows 0, 1, ...;
after them stands at most one whose prompt is only partly read.
"""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Generic

from pandagpt.engine.prefix_cache import BLOCK_TOKENS, Block, PrefixCache
from pandagpt.engine.sequence import NO_ROW, Sequence


@dataclass(frozen=True, slots=True)
class Move:
    """Copy the first `length` positions of a row."""

    source: int
    target: int
    length: int


@dataclass(frozen=True, slots=True)
class Restore(Generic[Block]):
    """Fill a row's first positions with blocks of the prefix cache."""

    row: int
    blocks: list[Block]


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next `length` positions of a sequence."""

    sequence: Sequence
    length: int

    @property
    def start(self) -> int:
        return self.sequence.num_computed

    @property
    def is_last(self) -> bool:
        return self.start + self.length >= self.sequence.prompt_length


@dataclass(frozen=True, slots=True)
class Plan(Generic[Block]):
    """Make the moves and restores, then compute one token of each decode (rows 0, 1, ...) and
    the chunks."""

    decodes: list[Sequence]
    chunks: list[Chunk]
    moves: list[Move]
    restores: list[Restore[Block]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not self.decodes and not self.chunks

    @property
    def num_tokens(self) -> int:
        return len(self.decodes) + sum(chunk.length for chunk in self.chunks)

    def ending(self) -> list[Sequence]:
        """Whose next token this step gives, in the order of the logits."""
        return self.decodes + [chunk.sequence for chunk in self.chunks if chunk.is_last]

    def advance(self) -> None:
        """Once computed. Chunks answer questions about the step before it only."""
        for sequence in self.decodes:
            sequence.num_computed += 1
        for chunk in self.chunks:
            chunk.sequence.num_computed += chunk.length

    def halves(self) -> tuple["Plan[Block]", "Plan[Block]"]:
        """The same work in two plans."""
        chunks = self._as_chunks()
        middle = len(chunks) // 2
        return Plan([], chunks[:middle], []), Plan([], chunks[middle:], [])

    def without(self, sequence: Sequence) -> "Plan[Block]":
        return Plan([], [chunk for chunk in self._as_chunks() if chunk.sequence != sequence], [])

    @property
    def sequences(self) -> list[Sequence]:
        return self.decodes + [chunk.sequence for chunk in self.chunks]

    def _as_chunks(self) -> list[Chunk]:
        """Decodes too, so that they may stand in any row."""
        return [Chunk(sequence, 1) for sequence in self.decodes] + self.chunks


class Scheduler(Generic[Block]):
    """First come, first served, but callers with fewer rows before those with more. A prompt
    longer than what a step has room for is read in chunks; those behind it wait, so at most one
    prompt is partly read at any time.
    """

    def __init__(
        self, max_rows: int, max_step_tokens: int, prefixes: PrefixCache[Block] | None = None
    ) -> None:
        self.max_rows = max_rows
        self._max_rows_now = max_rows
        self.max_step_tokens = max_step_tokens
        self._prefixes = prefixes
        self.waiting: deque[Sequence] = deque()
        self.rows: list[Sequence] = []

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def add_first(self, sequences: list[Sequence]) -> None:
        """For the siblings of a sequence whose prompt has just been read: they need only copies."""
        self.waiting.extendleft(reversed(sequences))

    @property
    def num_decodes(self) -> int:
        return sum(sequence.is_prefilled for sequence in self.rows)

    def plan(self, max_tokens: int | None = None) -> Plan[Block]:
        """Of at most `max_tokens` tokens, if that is less than a step may hold."""
        decodes = [sequence for sequence in self.rows if sequence.is_prefilled]
        plan: Plan[Block] = Plan(decodes, [], [])
        budget = min(max_tokens or self.max_step_tokens, self.max_step_tokens) - len(decodes)
        for sequence in self.rows[len(decodes) :]:
            budget -= self._plan_chunk(sequence, budget, plan)
        while self.waiting and budget > 0 and len(self.rows) < self._max_rows_now:
            budget -= self._plan_chunk(self._admit(plan), budget, plan)
        return plan

    def free(self, sequence: Sequence) -> list[Move]:
        """Forgets the sequence, waiting or running; the moves that keep the rows compact."""
        if not sequence.has_row:
            if sequence in self.waiting:
                self.waiting.remove(sequence)
            return []
        self._max_rows_now = self.max_rows
        moves = []
        hole = sequence.row
        while (follower := self._follower(hole)) is not None:
            moves.append(Move(follower.row, hole, follower.num_computed))
            hole, follower.row = follower.row, hole
            self.rows[follower.row] = follower
        self.rows.pop()
        sequence.row = NO_ROW
        return moves

    def put_back(self, sequence: Sequence) -> list[Move]:
        """From its row to the front of the queue, until another one that runs has left."""
        moves = self.free(sequence)
        sequence.start_again()
        self.waiting.appendleft(sequence)
        self._max_rows_now = max(1, len(self.rows))
        return moves

    def _admit(self, plan: Plan[Block]) -> Sequence:
        sequence = self._pop_next()
        donor = self._donor(sequence)
        sequence.row = len(self.rows)
        self.rows.append(sequence)
        if donor is not None:
            # The last position is computed again: its hidden state gives the first token.
            sequence.num_computed = sequence.prompt_length - 1
            plan.moves.append(Move(donor.row, sequence.row, sequence.num_computed))
        elif self._prefixes is not None:
            self._restore(sequence, self._prefixes, plan)
        return sequence

    def _pop_next(self) -> Sequence:
        num_rows = Counter(sequence.caller for sequence in self.rows)
        sequence = min(self.waiting, key=lambda waiting: num_rows[waiting.caller])
        self.waiting.remove(sequence)
        return sequence

    def _restore(self, sequence: Sequence, prefixes: PrefixCache[Block], plan: Plan[Block]) -> None:
        """All but the last position at most, as above."""
        if blocks := prefixes.find(sequence.trail, sequence.prompt_length - 1):
            sequence.num_computed = sequence.num_cached = len(blocks) * BLOCK_TOKENS
            plan.restores.append(Restore(sequence.row, blocks))

    def _donor(self, sequence: Sequence) -> Sequence | None:
        """A running choice of the same request: its row begins with the same prompt."""
        if sequence.index == 0 or sequence.token_ids:
            return None
        same = (other for other in self.rows if other.request_id == sequence.request_id)
        return next((other for other in same if other.is_prefilled), None)

    def _plan_chunk(self, sequence: Sequence, budget: int, plan: Plan[Block]) -> int:
        length = min(sequence.prompt_length - sequence.num_computed, budget)
        plan.chunks.append(Chunk(sequence, length))
        return length

    def _follower(self, hole: int) -> Sequence | None:
        """Who moves into the hole: the last decoding sequence, else the one partly read."""
        behind = self.rows[hole + 1 :]
        decoding = (other for other in reversed(behind) if other.is_prefilled)
        return next(decoding, behind[0] if behind else None)
