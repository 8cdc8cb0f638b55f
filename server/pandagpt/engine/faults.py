"""Faults on purpose, for tests: a plan as text in, errors, NaN, hangs and ends at named points out.

`step=exception@20,step=nan%131,encode=oom@2x3`: what happens at the 20th pass of a point, at each
131st, at the 2nd and the two after it. Without a plan a point costs one look at an empty dict.
Plain Python; this process alone has a plan, which `plan` sets once it is warm.
"""

import math
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator, MutableSequence
from dataclasses import dataclass
from typing import Any

from pandagpt.errors import OperatorError
from pandagpt.logs import get_logger

log = get_logger()

POINTS = frozenset({"step", "sample", "grammar", "text", "encode"})
KINDS = frozenset({"exception", "nan", "oom", "hang", "exit", "leak"})
HANG_SECONDS = 3600
LEAK_BYTES = 1 << 20
EXIT_CODE = 70

_FAULT = re.compile(
    r"(?P<point>\w+)=(?P<kind>\w+)(?P<how>[@%])(?P<number>[1-9]\d*)(x(?P<times>\d+))?"
)


class InjectedFault(Exception):
    pass


@dataclass(slots=True)
class Fault:
    """`every` 0: at `first` and the passes after it, `times` in all."""

    point: str
    kind: str
    first: int
    times: int
    every: int = 0
    num_passes: int = 0

    def is_due(self) -> bool:
        self.num_passes += 1
        if self.every:
            return self.num_passes >= self.every and self.num_passes % self.every < self.times
        return self.first <= self.num_passes < self.first + self.times


_planned: dict[str, list[Fault]] = {}
_leaked: list[bytearray] = []


def parse(text: str) -> list[Fault]:
    return [_parse_one(part) for part in text.split(",") if part]


def _parse_one(text: str) -> Fault:
    match = _FAULT.fullmatch(text)
    if not match or match["point"] not in POINTS or match["kind"] not in KINDS:
        forms = "POINT=KIND@NUMBER or POINT=KIND%NUMBER"
        raise OperatorError(f"PANDAGPT_FAULTS: {text!r} is not {forms}")
    number, times = int(match["number"]), int(match["times"] or 1)
    every = number if match["how"] == "%" else 0
    return Fault(match["point"], match["kind"], number, times, every)


def plan(text: str) -> None:
    """Replaces the plan of this process; its points are counted from here on."""
    by_point = defaultdict(list)
    for fault in parse(text):
        by_point[fault.point].append(fault)
    _planned.clear()
    _planned.update(by_point)


def strike(point: str) -> None:
    """What is due at this pass of `point`, but for NaN."""
    if _planned:
        for fault in _due(point, is_nan=False):
            _do(fault)


def spoil(point: str, rows: MutableSequence[Any] | Any) -> None:
    """NaN in the first row of a tensor, if that is due."""
    if _planned:
        for _ in _due(point, is_nan=True):
            rows[0] = math.nan


def _due(point: str, *, is_nan: bool) -> Iterator[Fault]:
    for fault in _planned.get(point, ()):
        if (fault.kind == "nan") == is_nan and fault.is_due():
            log.warning("fault_injected", point=point, kind=fault.kind)
            yield fault


def _do(fault: Fault) -> None:
    if fault.kind == "exception":
        raise InjectedFault(fault.point)
    if fault.kind == "oom":
        raise MemoryError("injected")
    if fault.kind == "hang":
        time.sleep(HANG_SECONDS)
    if fault.kind == "exit":
        os._exit(EXIT_CODE)
    if fault.kind == "leak":
        _leaked.append(bytearray(os.urandom(LEAK_BYTES)))
