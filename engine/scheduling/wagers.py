"""When a bet is worth its stake: the odds, the seconds it would save, and what it would cost.

A bet is worth it if

    p × saves_s × value of time  >  (1 − p) × cost

where ``p`` are the learned odds that it proves right (at least ``OBSERVATIONS`` evaluations, and
likelier than not), ``saves_s`` is the lesser of what the step usually takes and what is usually left
of the steps it would wait for, the value of time is the plan's, and the cost is what the step usually
takes at the price of a worker's hour, and the price of a call of its task type. Nothing is bet on what
is not known, nor for less than ``LEAST_S`` seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.dag.compiled import CompiledPlan, CompiledStep, JoinKind
from engine.plan.tasktype import Effects
from engine.scheduling.outstanding import Outstanding, Room
from engine.scheduling.records import RunState, StepState
from engine.scheduling.state import LiveRun
from engine.scheduling.turn import Turn
from engine.wire import shadow

OBSERVATIONS = 5
"""Evaluations that odds must rest on."""
LIKELY = 0.5
"""Odds below which nothing is bet: of two branches, only the likelier is started."""
LEAST_S = 0.01
"""Seconds that a bet must save: a message more costs about one millisecond of somebody's time."""
_LATE = 0.95

_JOINS = (JoinKind.ALL, JoinKind.ALL_DONE)


@dataclass(frozen=True, slots=True)
class Wager:
    """A bet that is worth it.

    Parameters
    ----------
    reason
        What it rests on, for people.
    guessed
        Number of the step whose output is guessed; ``None`` for a bet on a condition.
    p, observations
        Odds that it proves right, and how many evaluations they rest on.
    takes_s, saves_s
        What the step usually takes, and what the bet would save.
    cost_usd, expected_gain_usd
        What it costs if it is wrong; what it is worth on average.
    """

    reason: str
    guessed: int | None
    p: float
    observations: int
    takes_s: float
    saves_s: float
    cost_usd: float
    expected_gain_usd: float

    def figures(self) -> dict[str, Any]:
        """As a decision shows them."""
        return {
            "p": self.p,
            "observations": self.observations,
            "saves_s": self.saves_s,
            "cost_usd": self.cost_usd,
            "expected_gain_usd": self.expected_gain_usd,
        }


def guess_path(path: str) -> str:
    """Under what the odds are learned that the guess of the step at ``path`` proves right."""
    return f"{path}#guess"


def may_bet(plan: CompiledPlan, no: int) -> bool:
    """Whether a bet on the step can ever be made: it has one node, does no harm, and rests on one thing."""
    step = plan.steps[no]
    plain = step.child is None and not step.fanned and step.fallback_of is None and not step.pools
    if not plain or step.effects != Effects.NONE or step.join.kind not in _JOINS:
        return False
    if step.when is not None:
        return bool(step.condition_parents)
    return any(plan.steps[read].guess is not None for read in step.reads)


def own_output(run: LiveRun, no: int) -> bool:
    """Whether a plain step succeeded by itself: nothing tolerated, nothing stood in."""
    progress = run.steps[no]
    return progress.state is StepState.SUCCEEDED and progress.count == progress.succeeded == 1


def spare_slots(room: Room, queue: str, outstanding: Outstanding) -> tuple[int, int]:
    """Slots of the workers that serve ``queue``, and how many no attempt is out for.

    Whatever is out on any queue that they serve is counted against them, so the second is a lower
    bound; below zero, work is waiting for them.
    """
    slots = sum(count for queues, count in room.workers if queue in queues)
    return slots, slots - sum(outstanding.count(name) for name in served_with(room, queue))


def served_with(room: Room, queue: str) -> frozenset[str]:
    """The queues whose work the workers of ``queue`` do, itself included; empty if it has none."""
    return frozenset[str]().union(*(queues for queues, _ in room.workers if queue in queues))


def wager(turn: Turn, room: Room, run: LiveRun, no: int) -> Wager | None:
    """The bet that is worth making now on a waiting step that ``may_bet`` allows; ``None`` if none is."""
    step, value_usd_per_h = run.step(no), run.plan.value_of_time_usd_per_h
    if run.state is not RunState.RUNNING or run.steps[no].asked or value_usd_per_h is None:
        return None
    if step.task in room.tokens or room.slots.get(step.queue, 0) <= turn.outstanding.count(step.queue):
        return None
    found = _basis(run, step)
    if found is None:
        return None
    awaited, guessed = found
    path = step.path if guessed is None else guess_path(run.step(guessed).path)
    odds = turn.odds.branch(run.plan.name, path)
    if odds is None or odds[0] <= LIKELY or odds[1] < OBSERVATIONS:
        return None
    (p, observations), takes_s = odds, turn.odds.typical_s(run.plan.name, step.path, step.task)
    left = [_left_s(turn, run, parent) for parent in awaited]
    if takes_s is None or None in left:
        return None
    saves_s = min(takes_s, max(each or 0.0 for each in left))
    policy = turn.policy
    cost_usd = takes_s * policy.worker_usd_per_h / 3600 + policy.call_usd.get(step.task, 0.0)
    gain_usd = p * saves_s * value_usd_per_h / 3600 - (1 - p) * cost_usd
    if saves_s < LEAST_S or gain_usd <= 0:
        return None
    reason = (
        f"its condition, {step.when}, will probably hold"
        if guessed is None
        else f"the guess of {run.step(guessed).path} is probably right"
    )
    return Wager(reason, guessed, p, observations, takes_s, saves_s, cost_usd, gain_usd)


def _basis(run: LiveRun, step: CompiledStep) -> tuple[list[int], int | None] | None:
    """What a bet on the step would rest on now: running steps that it would wait for, and which is guessed."""
    if step.inputs_step is not None and run.steps[step.inputs_step].state is not StepState.SUCCEEDED:
        return None
    awaited = [parent for parent in step.parents if run.steps[parent].state is not StepState.SUCCEEDED]
    running = all(_is_running(run, parent) for parent in awaited)
    if not awaited or not running:
        return None
    if step.when is not None:
        return (awaited, None) if set(awaited) <= set(step.condition_parents) else None
    guesser = run.step(awaited[0]).guess
    if len(awaited) != 1 or awaited[0] not in step.reads or guesser is None or not own_output(run, guesser):
        return None
    return awaited, awaited[0]


def _is_running(run: LiveRun, no: int) -> bool:
    return run.steps[no].state is StepState.RUNNING and not run.steps[no].falling_back


def _left_s(turn: Turn, run: LiveRun, no: int) -> float | None:
    """Seconds that a running step usually needs from now on; ``None`` if nobody knows."""
    step = run.step(no)
    kind = run.plan.name, step.path, step.task
    typical_s = turn.odds.typical_s(*kind)
    out = [active for item in (0, shadow(0)) if (active := run.active.get((no, item))) is not None]
    if typical_s is None or step.fanned or not out:
        return typical_s
    elapsed_s = turn.now - min(active.begun_at or active.dispatched_at for active in out)
    if elapsed_s < typical_s:
        return typical_s - elapsed_s
    return max(0.0, (turn.odds.quantile_s(*kind, _LATE) or 0.0) - elapsed_s)
