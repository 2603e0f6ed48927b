"""How long a plan would take: one simulated run of it, as a list schedule over worker slots.

Ready steps go out by upward rank, as the scheduler sends them; each queue has its slots. What is left
out: retries, failures, waiting for other runs, pools and rates, and time between a parent's end and a
child's begin. A fan-out's bodies are packed into at most a few pieces a slot, which keeps a step of
100,000 nodes as cheap as one of 100.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from engine.dag.compiled import CompiledPlan, CompiledStep, JoinKind
from engine.plan.tasktype import Effects
from engine.scheduling.chunks import MESSAGE_S, NODE_S

_PIECES_A_SLOT = 4
_DRAWS = 8
"""Bodies of a piece whose seconds are drawn; the others take as long as these on average."""


@dataclass(frozen=True, slots=True)
class Chances:
    """What one simulated run draws.

    Parameters
    ----------
    seconds
        Seconds of a body of a step, by number; 0 where nothing is known.
    holds
        Whether a step's condition is true.
    """

    seconds: Callable[[int], float]
    holds: Callable[[int], bool]


def makespan_s(
    plan: CompiledPlan, counts: Sequence[int], slots: Mapping[str, int], rank: Sequence[float], chances: Chances
) -> float:
    """Seconds of one simulated run.

    Parameters
    ----------
    counts, rank
        Nodes and upward rank of each step, by number.
    slots
        Of each queue; a queue that is absent has one.
    """
    runs = steps_that_run(plan, chances.holds)
    waits = {no: _needed(plan.steps[no], runs) for no in runs}
    left = {no: _pieces(plan.steps[no], counts[no], slots) for no in runs}
    free = {step.queue: max(1, slots.get(step.queue, 1)) for step in plan.steps}
    ready: dict[str, list[tuple[float, int, int]]] = {queue: [] for queue in free}
    running: list[tuple[float, int]] = []
    now = 0.0
    ended = [no for no in runs if not waits[no]]
    for no in ended:
        _list(plan.steps[no], left[no], rank[no], ready)
    while True:
        for queue, waiting in ready.items():
            while waiting and free[queue]:
                _, no, bodies = heapq.heappop(waiting)
                free[queue] -= 1
                heapq.heappush(running, (now + _piece_s(plan.steps[no], bodies, chances), no))
        if not running:
            return now
        now, no = heapq.heappop(running)
        free[plan.steps[no].queue] += 1
        left[no].pop()
        if not left[no]:
            for child in plan.steps[no].children:
                if waits.get(child):
                    waits[child] -= 1
                    if not waits[child]:
                        _list(plan.steps[child], left[child], rank[child], ready)


def steps_that_run(plan: CompiledPlan, holds: Callable[[int], bool]) -> set[int]:
    """Numbers of the steps that run if nothing fails: no fall-backs, and nothing behind a false condition."""
    runs: set[int] = set()
    for step in plan.steps:
        if step.fallback_of is not None or not _joins(step, len(runs.intersection(step.parents))):
            continue
        if step.when is None or step.when_per_item or holds(step.no):
            runs.add(step.no)
    return runs


def _joins(step: CompiledStep, good: int) -> bool:
    """Whether the step's join holds once ``good`` of its parents have succeeded and the others were skipped."""
    if not step.parents:
        return True
    match step.join.kind:
        case JoinKind.ALL:
            return good == len(step.parents)
        case JoinKind.ANY:
            return good > 0
        case JoinKind.AT_LEAST:
            return good >= step.join.count
        case _:
            return True


def _needed(step: CompiledStep, runs: set[int]) -> int:
    """How many of its parents the step waits for."""
    going = len(runs.intersection(step.parents))
    if step.join.kind is JoinKind.ANY:
        return min(1, going)
    return min(step.join.count, going) if step.join.kind is JoinKind.AT_LEAST else going


def _pieces(step: CompiledStep, count: int, slots: Mapping[str, int]) -> list[int]:
    """The step's bodies, packed: how many each piece has. One empty piece for a step without nodes."""
    most = min(max(1, count), _PIECES_A_SLOT * max(1, slots.get(step.queue, 1)), step.max_parallel or count or 1)
    share, more = divmod(count, most)
    return [share + (number < more) for number in range(most)]


def _list(step: CompiledStep, pieces: list[int], rank: float, ready: dict[str, list[tuple[float, int, int]]]) -> None:
    for bodies in pieces:
        heapq.heappush(ready[step.queue], (-rank, step.no, bodies))


def _piece_s(step: CompiledStep, bodies: int, chances: Chances) -> float:
    if not bodies:
        return 0.0
    least_s = MESSAGE_S if step.effects == Effects.EXTERNAL else NODE_S
    drawn = min(bodies, _DRAWS)
    return sum(max(least_s, chances.seconds(step.no)) for _ in range(drawn)) * bodies / drawn
