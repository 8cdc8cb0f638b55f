"""The engine: requests in by `add`, one step of all of them at a time, events out.

Called by one thread. Knows no threads, no queues and no HTTP; media are encoded elsewhere:
`add` says which, `add_media` brings them; and so are grammars, for `add_grammar`.
"""

from dataclasses import replace
from functools import partial
from time import perf_counter

import numpy as np
from torch import Tensor

from pandagpt.engine import faults
from pandagpt.engine.config import EngineConfig
from pandagpt.engine.encoder import EncodedMedia, EncodeJob
from pandagpt.engine.failure import failure_by
from pandagpt.engine.grammar import CompiledGrammar
from pandagpt.engine.job import Choice, Job, new_job
from pandagpt.engine.media_table import MediaTable
from pandagpt.engine.pace import Pace
from pandagpt.engine.prefix_cache import PrefixCache
from pandagpt.engine.recovery import Recovery
from pandagpt.engine.request import Delta, EmbedRequest, Event, GenerateRequest
from pandagpt.engine.runner import Runner
from pandagpt.engine.sampler import Logprobs
from pandagpt.engine.scheduler import Chunk, Plan, Restore, Scheduler
from pandagpt.engine.sequence import Sequence
from pandagpt.engine.stats import Stats
from pandagpt.errors import InvalidSchema, Overloaded, PandaError
from pandagpt.logs import get_logger

log = get_logger()

_Drawn = tuple[Sequence, int | None, Logprobs | None]


class Engine:
    """The runner is lent to it: an engine that is given up leaves it to the next one, reset."""

    def __init__(self, runner: Runner, config: EngineConfig) -> None:
        self._runner = runner
        self._tokenizer = runner.tokenizer
        self._prefixes: PrefixCache[Tensor] = PrefixCache(config.prefix_cache_bytes)
        self._scheduler = Scheduler(config.max_rows, config.max_step_tokens, self._prefixes)
        self._pace = Pace(config.max_step_seconds, config.max_step_tokens)
        self._media = MediaTable(config.media_cache_bytes)
        self._jobs: dict[str, Job] = {}
        self._in_flight: list[tuple[list[Sequence], Tensor]] = []
        self._recovery = Recovery(runner, self._scheduler, self._prefixes, self._jobs)
        self._max_queue_seconds = config.max_queue_seconds
        self._stats = Stats()
        self._max_cached_tokens = config.max_rows * runner.max_model_len

    @property
    def has_work(self) -> bool:
        return bool(self._scheduler.rows or self._scheduler.waiting)

    @property
    def num_requests(self) -> int:
        return len(self._jobs)

    def stats(self) -> Stats:
        """Of now, and since it was last called."""
        stats, self._stats = self._stats, Stats()
        rows = self._scheduler.rows
        num_open = sum(max(1, job.num_open) for job in self._jobs.values())
        stats.num_running, stats.num_waiting = len(rows), num_open - len(rows)
        stats.cache_usage = sum(row.num_computed for row in rows) / self._max_cached_tokens
        return stats

    def add(self, request: GenerateRequest | EmbedRequest) -> tuple[list[EncodeJob], list[Event]]:
        """The media that must be encoded before the request can run; none: it runs, or is over."""
        assert request.request_id not in self._jobs, "request ids are unique"
        job = new_job(request, self._tokenizer, self._runner.max_model_len)
        self._jobs[request.request_id] = job
        needed = self._find_media(job)
        # From here on only the encoder holds the pixels and samples, and only until it is done.
        empty = np.empty(0, np.float32)
        job.request = replace(request, media=tuple(replace(m, array=empty) for m in request.media))
        return needed, self._start_if_ready(job)

    def add_media(self, encoded: EncodedMedia) -> list[Event]:
        jobs = self._media.arrived(encoded)
        if isinstance(encoded.row, PandaError):
            ids = [job.request.request_id for job in jobs]
            return [event for one in ids for event in self.fail(one, encoded.row)]
        self._stats.encoder_seconds.append((encoded.modality, encoded.seconds))
        return [event for job in jobs for event in self._start_if_ready(job)]

    def add_grammar(self, compiled: CompiledGrammar) -> list[Event]:
        if (job := self._jobs.get(compiled.request_id)) is None:
            return []
        if isinstance(compiled.matcher, PandaError):
            return self.fail(compiled.request_id, compiled.matcher)
        for choice in job.choices:
            choice.matcher = compiled.matcher.copy()
        job.is_compiling = False
        return self._start_if_ready(job)

    def abort(self, request_id: str) -> None:
        """Its rows are free for the next step; nothing more is said of it."""
        if (job := self._jobs.pop(request_id, None)) is None:
            return
        self._media.forget(job)
        for choice in job.choices:
            self._release(choice)

    def fail(self, request_id: str, error: PandaError) -> list[Event]:
        self.abort(request_id)
        return [(request_id, error)]

    def all_failed(self, error: PandaError) -> list[Event]:
        """What to tell everybody when this engine is given up."""
        return [(request_id, error) for request_id in self._jobs]

    def step(self) -> list[Event]:
        """One forward pass over all that can run; at most one token for each choice.

        A device that computes by itself is given the next pass before this host does anything
        else with the tokens of the last one. Rows whose answer proves to have ended were then
        computed in vain; nothing is lost by it but their share of that pass.
        """
        guilty: dict[str, Exception] = {}
        drawn = self._draw(guilty)
        events = self._fail_guilty(guilty) + self._refuse_late()
        self._launch(guilty)
        if not self._runner.is_asynchronous:
            drawn += self._draw(guilty)
        for one in drawn:
            events += self._append(one, guilty)
        events += self._fail_guilty(guilty)
        for request_id, delta in events:
            if isinstance(delta, Delta) and delta.finish_reason is not None:
                self._retire(request_id, delta.index)
        return events

    # -- joining

    def _find_media(self, job: Job) -> list[EncodeJob]:
        needed = self._media.find(job)
        num_asked = len(set(job.keys))
        self._stats.media_queries += num_asked
        self._stats.media_hits += num_asked - len(needed)
        return needed

    def _start_if_ready(self, job: Job) -> list[Event]:
        """Only the first choice: its siblings copy the prompt once it has been read."""
        if not job.is_ready:
            return []
        if job.choices:
            job.choices[0].sequence.queued_at = perf_counter()
            self._scheduler.add(job.choices[0].sequence)
            return []
        request_id = job.request.request_id
        del self._jobs[request_id]
        return [(request_id, self._runner.embeddings([job.rows[key] for key in job.keys]))]

    # -- one step

    def _refuse_late(self) -> list[Event]:
        """Who has waited too long for a row hears so, and may ask elsewhere."""
        late_before = perf_counter() - self._max_queue_seconds
        late = [
            sequence.request_id
            for sequence in self._scheduler.waiting
            if sequence.index == 0 and not sequence.token_ids and sequence.queued_at < late_before
        ]
        message = f"The request waited longer than {self._max_queue_seconds:g} s for its turn."
        error = Overloaded(f"{message} Try again later.", retry_after_seconds=5)
        return [event for request_id in late for event in self.fail(request_id, error)]

    def _launch(self, guilty: dict[str, Exception]) -> None:
        if not self._scheduler.rows:
            self._pace.forget()
        plan = self._scheduler.plan(self._pace.budget(self._scheduler.num_decodes))
        self._runner.move(plan.moves)
        restores = {restore.row: restore for restore in plan.restores}
        chunks = [c for c in plan.chunks if self._begin(c, restores.get(c.sequence.row), guilty)]
        self._in_flight = self._forward(Plan(plan.decodes, chunks, []), guilty)

    def _draw(self, guilty: dict[str, Exception]) -> list[_Drawn]:
        """The next token of each sequence in flight that is still here; waits for the pass."""
        drawn: list[_Drawn] = []
        for sequences, logits_BV in self._in_flight:
            here = [i for i, sequence in enumerate(sequences) if sequence.has_row]
            if len(here) < len(sequences):
                sequences, logits_BV = [sequences[i] for i in here], logits_BV[here]
            if sequences:
                self._constrain(sequences, guilty)
                uniforms = [self._find(sequence)[1].random.random() for sequence in sequences]
                drawn += self._sample(sequences, logits_BV, uniforms, guilty)
        self._in_flight = []
        if drawn:
            self._pace.finished()
        return [one for one in drawn if self._take(one, guilty)]

    def _take(self, drawn: _Drawn, guilty: dict[str, Exception]) -> bool:
        sequence, token_id, _ = drawn
        if sequence.request_id in guilty:
            return False
        if token_id is None:
            guilty[sequence.request_id] = FloatingPointError("the logits are not finite")
            return False
        sequence.token_ids.append(token_id)
        return True

    def _begin(
        self, chunk: Chunk, restore: Restore[Tensor] | None, guilty: dict[str, Exception]
    ) -> bool:
        job, choice = self._find(chunk.sequence)
        if choice.is_begun:
            return True
        request = job.request
        assert isinstance(request, GenerateRequest)
        try:
            if restore:
                self._runner.restore(restore)
            self._runner.begin(chunk.sequence, request, [job.rows[key] for key in job.keys])
        except Exception as error:
            guilty[request.request_id] = error
            return False
        choice.is_begun = True
        if chunk.sequence.index == 0 and not choice.num_put_back:
            seconds = perf_counter() - job.added_at
            self._stats.began(seconds, len(request.prompt), chunk.sequence.num_cached)
        return True

    def _forward(
        self, plan: Plan, guilty: dict[str, Exception]
    ) -> list[tuple[list[Sequence], Tensor]]:
        """What of the plan could be computed."""
        if plan.is_empty:
            return []
        start = perf_counter()
        try:
            logits_BV = self._runner.forward(plan)
        except Exception as error:
            smaller = self._recovery.smaller(plan, error, guilty)
        else:
            self._pace.launched(plan.num_tokens, start)
            return self._launched(plan, logits_BV)
        return [done for part in smaller for done in self._forward(part, guilty)]

    def _launched(self, plan: Plan, logits_BV: Tensor) -> list[tuple[list[Sequence], Tensor]]:
        sequences = plan.ending()
        plan.advance()
        for sequence in sequences:
            self._runner.drop_prompt(sequence)
            if not sequence.token_ids:
                self._add_siblings(sequence)
        return [(sequences, logits_BV)] if sequences else []

    def _constrain(self, sequences: list[Sequence], guilty: dict[str, Exception]) -> None:
        """A mask takes some microseconds, during which a GPU is busy with the pass still."""
        for sequence in sequences:
            matcher = self._find(sequence)[1].matcher
            if matcher is None:
                continue
            try:
                faults.strike("grammar")
                self._runner.constrain(sequence, matcher.allowed())
            except Exception as error:
                guilty[sequence.request_id] = error

    def _add_siblings(self, sequence: Sequence) -> None:
        if sequence.index == 0:
            siblings = self._jobs[sequence.request_id].choices[1:]
            self._scheduler.add_first([choice.sequence for choice in siblings])

    def _sample(
        self,
        sequences: list[Sequence],
        logits_BV: Tensor,
        uniforms: list[float],
        guilty: dict[str, Exception],
    ) -> list[_Drawn]:
        """All rows at once; if that fails, one by one."""
        try:
            sampled = self._runner.sample(logits_BV, sequences, uniforms)
        except Exception as error:
            if len(sequences) == 1:
                guilty[sequences[0].request_id] = error
                return []
            singles = zip(sequences, logits_BV.split(1), uniforms, strict=True)
            return [d for s, row, u in singles for d in self._sample([s], row, [u], guilty)]
        return list(zip(sequences, sampled.token_ids, sampled.logprobs, strict=True))

    def _append(self, drawn: _Drawn, guilty: dict[str, Exception]) -> list[Event]:
        sequence, token_id, logprobs = drawn
        request_id = sequence.request_id
        if token_id is None or request_id in guilty or request_id not in self._jobs:
            return []
        try:
            logprob = logprobs.spelled(token_id, self._tokenizer) if logprobs else None
            delta = self._find(sequence)[1].append(token_id, logprob)
        except Exception as error:
            guilty[sequence.request_id] = error
            return []
        return [(sequence.request_id, delta)]

    # -- leaving

    def _fail_guilty(self, guilty: dict[str, Exception]) -> list[Event]:
        events = []
        for request_id, error in guilty.items():
            events += self._fail_running(self._jobs[request_id], error)
        guilty.clear()
        return events

    def _fail_running(self, job: Job, error: Exception) -> list[Event]:
        if isinstance(error, InvalidSchema):
            return self.fail(job.request.request_id, error)
        log.error("request_failed", request_id=job.request.request_id, exc_info=error)
        for choice in job.choices:
            if choice.sequence.has_row:
                self._runner.clear(choice.sequence.row)
        return self.fail(job.request.request_id, failure_by(error))

    def _retire(self, request_id: str, index: int) -> None:
        """A finished choice; its request may have failed in the same step by another."""
        if (job := self._jobs.get(request_id)) is None:
            return
        self._keep_prefix(job.choices[index].sequence)
        self._release(job.choices[index])
        job.num_open -= 1
        if job.num_open == 0:
            del self._jobs[request_id]

    def _keep_prefix(self, sequence: Sequence) -> None:
        """For the next turn, which begins with this prompt and its answer."""
        sequence.trail.items += sequence.token_ids
        self._prefixes.put(
            sequence.trail, sequence.num_computed, partial(self._runner.save, sequence.row)
        )

    def _release(self, choice: Choice) -> None:
        self._runner.move(self._scheduler.free(choice.sequence))
        self._runner.end(choice.sequence)

    def _find(self, sequence: Sequence) -> tuple[Job, Choice]:
        job = self._jobs[sequence.request_id]
        return job, job.choices[sequence.index]
