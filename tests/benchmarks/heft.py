"""A trace's tasks, and how long HEFT takes for them on identical slots when nothing costs anything.

References
----------
Topcuoglu, Hariri, Wu: Performance-effective and low-complexity task scheduling for heterogeneous
computing, IEEE TPDS 13(3), 2002. With identical slots and free communication its ranks are longest
paths to an exit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Trace:
    """Tasks by name, in an order in which parents come first: seconds and parents."""

    name: str
    seconds: Mapping[str, float]
    parents: Mapping[str, tuple[str, ...]]

    def scaled(self, work_s: float) -> Trace:
        """The same with so many seconds of work in all."""
        factor = work_s / sum(self.seconds.values())
        return Trace(self.name, {task: seconds * factor for task, seconds in self.seconds.items()}, self.parents)

    def ranks(self) -> dict[str, float]:
        """Seconds of the longest path from a task's start to the end of all."""
        below = dict.fromkeys(self.seconds, 0.0)
        ranks: dict[str, float] = {}
        for task in reversed(list(self.seconds)):
            ranks[task] = self.seconds[task] + below[task]
            for parent in self.parents[task]:
                below[parent] = max(below[parent], ranks[task])
        return ranks

    def bound_s(self, slots: int) -> float:
        """No schedule is shorter: the work over all slots, and the critical path."""
        return max(sum(self.seconds.values()) / slots, *self.ranks().values())


def read_trace(path: Path) -> Trace:
    """A trace in WfFormat 1.5."""
    workflow = json.loads(path.read_text())["workflow"]
    seconds = {task["id"]: float(task["runtimeInSeconds"]) for task in workflow["execution"]["tasks"]}
    parents = {task["id"]: tuple(task["parents"]) for task in workflow["specification"]["tasks"]}
    ordered: dict[str, None] = {}
    for task in parents:
        pending = [task]
        while pending:  # depth first, without recursion: chains may be long
            missing = [parent for parent in parents[pending[-1]] if parent not in ordered]
            if missing:
                pending += missing
            else:
                ordered[pending.pop()] = None
    return Trace(path.stem, {task: seconds[task] for task in ordered}, {task: parents[task] for task in ordered})


def heft_s(trace: Trace, slots: int) -> float:
    """Makespan of HEFT with insertion: by falling rank, each task where it ends first."""
    ranks = trace.ranks()
    position = {task: number for number, task in enumerate(trace.seconds)}
    busy: list[list[tuple[float, float]]] = [[] for _ in range(slots)]
    end: dict[str, float] = {}
    for task in sorted(trace.seconds, key=lambda task: (-ranks[task], position[task])):
        ready_s = max((end[parent] for parent in trace.parents[task]), default=0.0)
        starts = [_first_gap(spans, ready_s, trace.seconds[task]) for spans in busy]
        slot = min(range(slots), key=starts.__getitem__)
        end[task] = starts[slot] + trace.seconds[task]
        busy[slot].append((starts[slot], end[task]))
        busy[slot].sort()
    return max(end.values())


def _first_gap(spans: Sequence[tuple[float, float]], ready_s: float, seconds: float) -> float:
    """Earliest moment from ``ready_s`` on at which ``seconds`` fit between what is there."""
    at = ready_s
    for start, end in spans:
        if at + seconds <= start:
            return at
        at = max(at, end)
    return at
