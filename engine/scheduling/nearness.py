"""How near a waiting step is, and whether what it will read may be read now.

It may be if what says what to read is known, if no step above it that is still open changes anything
(what is read now is then what the body would have read), and if the body comes while it is fresh.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.plan.tasktype import Effects
from engine.scheduling.outstanding import Room
from engine.scheduling.records import RunState, StepState
from engine.scheduling.state import LiveRun
from engine.scheduling.turn import Turn

LIKELY = 0.5
"""Odds of its condition below which nothing is read for a step."""
LEAST_S = 0.01
"""A body that usually takes less is not read ahead for: a message costs about a millisecond."""
ABOVE_MOST = 32
"""Open steps above a step past which it is too far away."""
_QUEUE = "prefetch"


@dataclass(frozen=True, slots=True)
class Nearness:
    """Of a step that may be read ahead for.

    Parameters
    ----------
    parents_out
        Whether all its open parents are out already.
    open_above
        Steps above it that have not ended.
    starts_in_s
        The longest way through those, as bodies usually last; what is not known counts nothing.
    usual_s
        What its own bodies usually take, or ``None``.
    odds
        That its condition holds, or ``None`` if it has none or it was never evaluated.
    """

    parents_out: bool
    open_above: int
    starts_in_s: float
    usual_s: float | None
    odds: float | None


def may_read_ahead(run: LiveRun, no: int) -> bool:
    """Whether a step can ever be read ahead for: it waits, and shares nothing of which there is only so much."""
    step = run.step(no)
    waits = run.steps[no].state is StepState.WAITING
    return waits and step.prefetch is not None and step.fallback_of is None and not step.pools


def nearness(turn: Turn, room: Room, run: LiveRun, no: int) -> Nearness | None:
    """Where a waiting step stands; ``None`` if nothing may be read ahead for it now."""
    step, progress = run.step(no), run.steps[no]
    wanted = step.prefetch
    if wanted is None or run.state is not RunState.RUNNING or progress.asked or no in run.bet_at:
        return None
    if step.task in room.tokens or not _served_together(room, step.queue):
        return None
    if not all(run.steps[read].state.final for read in wanted.reads):
        return None
    entered = step.inputs_step
    if wanted.inputs and entered is not None and run.steps[entered].state is not StepState.SUCCEEDED:
        return None
    branch = None if step.when is None else turn.odds.branch(run.plan.name, step.path)
    usual_s = turn.odds.typical_s(run.plan.name, step.path, step.task)
    if (branch is not None and branch[0] < LIKELY) or (usual_s is not None and usual_s < LEAST_S):
        return None
    above = _quiet_above(run, no)
    if not above:
        return None
    starts_in_s = _longest_s(turn, run, above)
    if starts_in_s >= turn.policy.prefetch_fresh_s:
        return None
    parents_out = all(run.steps[parent].state is not StepState.WAITING for parent in step.parents)
    return Nearness(parents_out, len(above), starts_in_s, usual_s, None if branch is None else branch[0])


def _served_together(room: Room, queue: str) -> bool:
    """Whether all workers that read ahead could run the step as well: they see what it would see."""
    return all(queue in queues for queues, _ in room.workers if _QUEUE in queues)


def _quiet_above(run: LiveRun, no: int) -> list[int] | None:
    """The open steps above a step, ascending; ``None`` if one of them has effects, or there are too many."""
    found: set[int] = set()
    todo = [no]
    while todo:
        step = run.step(todo.pop())
        standing_in = () if step.no == no or step.fallback is None else (step.fallback,)
        for above in (*step.parents, *standing_in):
            if run.steps[above].state.final or above in found:
                continue
            found.add(above)
            if run.step(above).effects != Effects.NONE or len(found) > ABOVE_MOST:
                return None
            todo.append(above)
    return sorted(found)


def _longest_s(turn: Turn, run: LiveRun, above: list[int]) -> float:
    ends_s: dict[int, float] = {}
    for no in above:
        step = run.step(no)
        before_s = max((ends_s.get(parent, 0.0) for parent in step.parents), default=0.0)
        ends_s[no] = before_s + (turn.odds.typical_s(run.plan.name, step.path, step.task) or 0.0)
    return max(ends_s.values(), default=0.0)
