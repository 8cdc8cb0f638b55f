"""What becomes of a pass that has failed: smaller passes, and who is to blame in the end.

Guilt is told by request id. Where memory was short, what is kept for reuse goes first; then the
newest sequence waits for another turn.
"""

from collections.abc import Mapping

from torch import Tensor

from pandagpt.engine.job import Job
from pandagpt.engine.prefix_cache import PrefixCache
from pandagpt.engine.runner import Runner
from pandagpt.engine.scheduler import Plan, Scheduler
from pandagpt.engine.sequence import Sequence
from pandagpt.logs import get_logger
from pandagpt.model.device import is_out_of_memory

log = get_logger()

# A sequence that memory has no room for is put back into the queue so often.
MAX_PUT_BACK = 2


class Recovery:
    """`jobs` are those of the engine, the newest last."""

    def __init__(
        self,
        runner: Runner,
        scheduler: Scheduler,
        prefixes: PrefixCache[Tensor],
        jobs: Mapping[str, Job],
    ) -> None:
        self._runner = runner
        self._scheduler = scheduler
        self._prefixes = prefixes
        self._jobs = jobs

    def smaller(
        self, plan: Plan, error: Exception, guilty: dict[str, Exception]
    ) -> list[Plan[Tensor]]:
        """Halves, until the guilty one is alone."""
        if is_out_of_memory(error):
            # A traceback would keep the tensors of the pass that has failed.
            return [self._lighter(plan, error.with_traceback(None), guilty)]
        if len(plan.sequences) > 1:
            return list(plan.halves())
        guilty[plan.sequences[0].request_id] = error
        return []

    def _lighter(self, plan: Plan, error: Exception, guilty: dict[str, Exception]) -> Plan[Tensor]:
        """The same pass without what was kept for reuse only; else without the newest."""
        if self._prefixes.num_bytes:
            self._prefixes.clear()
            return plan
        order = {request_id: number for number, request_id in enumerate(self._jobs)}
        newest = max(plan.sequences, key=lambda one: (order[one.request_id], one.index))
        self._put_back(newest, error, guilty)
        return plan.without(newest)

    def _put_back(self, sequence: Sequence, error: Exception, guilty: dict[str, Exception]) -> None:
        choice = self._jobs[sequence.request_id].choices[sequence.index]
        if choice.num_put_back == MAX_PUT_BACK:
            guilty[sequence.request_id] = error
            return
        log.warning("out_of_memory", put_back=sequence.request_id)
        choice.num_put_back += 1
        choice.is_begun = False
        self._runner.drop_prompt(sequence)
        self._runner.move(self._scheduler.put_back(sequence))
