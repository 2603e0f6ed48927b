"""Chains of short steps that go out as one message, the *segments*.

A hop from one step to the next costs a round through the scheduler: some milliseconds, against which a
short body is nothing. So where a step has one child that waits for nothing else, the child goes along,
and its own, for as long as all of them together take about as long as a chunk may. Only steps that do
no harm when repeated: the whole message is lost with its worker.
"""

from __future__ import annotations

from collections.abc import Collection

from engine.dag.compiled import CompiledStep, JoinKind
from engine.plan.tasktype import Effects
from engine.scheduling.attempts import next_attempt
from engine.scheduling.chunks import node_cost_s
from engine.scheduling.events import Placement
from engine.scheduling.extras import extra_of
from engine.scheduling.records import Dispatched, StepExpanded, StepState
from engine.scheduling.state import Active, LiveRun
from engine.scheduling.turn import Turn


def follow(turn: Turn, run: LiveRun, head: Placement, rated: Collection[str]) -> list[Placement]:
    """Send the steps that follow ``head`` along with it, and journal them; empty if none may."""
    step = run.step(head.step_no)
    seconds = _short_s(turn, run, step, rated)
    if seconds is None or (head.step_no, head.item) in run.trouble:
        return []
    placements: list[Placement] = []
    while (after := _only_child(run, step)) is not None and len(placements) + 1 < turn.policy.chunk_max:
        more_s = _short_s(turn, run, after, rated)
        if more_s is None or seconds + more_s > turn.policy.chunk_s or not _simple(run, after, step.queue):
            break
        seconds += more_s
        placements.append(_send_ahead(turn, run, after.no, more_s, head))
        step = after
    return placements


def _only_child(run: LiveRun, step: CompiledStep) -> CompiledStep | None:
    """The step that waits for ``step`` and for nothing else that is still open."""
    if len(step.children) != 1:
        return None
    child = run.step(step.children[0])
    progress = run.steps[child.no]
    alone = child.parents == (step.no,) or (
        progress.open_parents == 1 and progress.good_parents == len(child.parents) - 1
    )
    return child if alone and progress.state is StepState.WAITING and not progress.asked else None


def _simple(run: LiveRun, step: CompiledStep, queue: str) -> bool:
    """Whether a worker can tell by itself that the step is to run, and with what."""
    return (
        step.join.kind is JoinKind.ALL
        and step.queue == queue
        and step.when is None
        and step.fallback_of is None
        and (step.no, 0) not in run.trouble
        and extra_of(run, step.no, 0) is None
        and (step.inputs_step is None or run.steps[step.inputs_step].state is StepState.SUCCEEDED)
    )


def _short_s(turn: Turn, run: LiveRun, step: CompiledStep, rated: Collection[str]) -> float | None:
    """Expected seconds of the step's one node; ``None`` if it is to travel alone."""
    plain = not step.fanned and step.child is None and step.effects != Effects.EXTERNAL and not step.pools
    name = run.plan.name
    if not plain or step.task in rated or turn.odds.typical_s(name, step.path, step.task) is None:
        return None
    return node_cost_s(name, step, turn.odds)


def _send_ahead(turn: Turn, run: LiveRun, no: int, estimate_s: float, head: Placement) -> Placement:
    progress = run.steps[no]
    attempt, kind = next_attempt(run, no, 0)
    queue = run.active[head.step_no, head.item].queue
    progress.state, progress.ahead, progress.count = StepState.RUNNING, True, 1
    progress.finals = bytearray(1)
    progress.cursor = progress.page_end = progress.out = 1
    active = Active(attempt, kind, queue, estimate_s, turn.now)
    run.active[no, 0] = active
    turn.outstanding.add(run, no, active)
    turn.record(StepExpanded(run.id, no, 1, turn.now))
    turn.record(Dispatched(run.id, no, 0, attempt, kind, queue, turn.now))
    return Placement(run.id, no, 0, attempt)
