"""Stopping what is not needed any more: nodes of a step, and the branches that a join can do without.

A step is needed if a step that waits for it has yet to start, if an output or the goal refers to it,
or if nothing waits for it at all: then it is there for its own sake. Closes no step; ``steps`` does.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.scheduling.events import NodeId, StopAttempts
from engine.scheduling.records import Decision, NodesSkipped, NodeState, StepState
from engine.scheduling.state import NODE_CODES, LiveRun
from engine.scheduling.turn import Turn
from engine.scheduling.unsaid import not_needed
from engine.wire import shadow

TERMINATE = "terminate"
"""The kind of decisions to end something before its time."""
SHOWN = 20
"""Steps that a decision names."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """What became of the nodes of a step that is not needed: how many were out, how many never went out."""

    running: int = 0
    never_begun: int = 0
    state: StepState = StepState.SKIPPED


def reason(run: LiveRun, no: int) -> str:
    """Why a step that is needed for the join of step ``no`` alone is stopped."""
    return f"not needed: the join of {run.step(no).path} holds without it"


def unneeded(run: LiveRun, no: int) -> list[int]:
    """The open steps that are needed for the join of step ``no`` alone, which holds; consumers first."""
    wanted = set(run.plan.names.values())
    if run.plan.ending is not None:
        wanted.update(run.plan.ending.goal_names.values())
    found: list[int] = []
    gone: set[int] = set()
    heap = [-parent for parent in _open_parents(run, no)]
    heapq.heapify(heap)
    seen = {-entry for entry in heap}
    while heap:  # highest numbers first, so that what waits for a step is judged before it
        step_no = -heapq.heappop(heap)
        if step_no in wanted or not _only_for(run, step_no, no, gone):
            continue
        gone.add(step_no)
        found.append(step_no)
        fallback = run.step(step_no).fallback
        if fallback is not None and run.steps[fallback].state is StepState.RUNNING:
            gone.add(fallback)
            found.append(fallback)
        for parent in _open_parents(run, step_no):
            if parent not in seen:
                seen.add(parent)
                heapq.heappush(heap, -parent)
    return found


def stop_nodes(turn: Turn, run: LiveRun, no: int, why: str) -> Stopped:
    """End every open node of step ``no``: skipped if it never went out, cancelled if it did."""
    progress = run.steps[no]
    out: list[NodeId] = []
    tried: list[int] = []
    untried: list[int] = []
    running = 0
    for item in range(progress.count or 0):
        if progress.finals[item]:
            continue
        own, extra = (no, item), (no, shadow(item))
        going = [node for node in (own, extra) if node in run.active]
        for node in going:
            active = run.active.pop(node)
            turn.outstanding.remove(run, no, active)
            not_needed(turn, run, no, item, active.attempt, active.begun_at, why)
            progress.out -= node == own
        out += going
        running += bool(going)
        failed_before = run.trouble.pop(own, None) is not None
        (tried if going or failed_before else untried).append(item)
        progress.finals[item] = NODE_CODES[NodeState.CANCELLED if tried[-1:] == [item] else NodeState.SKIPPED]
    for items, state in ((tried, NodeState.CANCELLED), (untried, NodeState.SKIPPED)):
        if items:
            turn.record(NodesSkipped(run.id, no, tuple(items), state, turn.now, why))
    progress.cancelled += len(tried)
    progress.skipped += len(untried)
    progress.again.clear()
    progress.ahead = False
    progress.cursor = progress.page_end = progress.count or 0
    if out:
        run.stopping += 1
        turn.effect(StopAttempts(run.id, tuple(out), awaited=True))
    begun = bool(progress.ended - len(untried))
    return Stopped(running, len(untried), StepState.CANCELLED if begun else StepState.SKIPPED)


def decision(turn: Turn, run: LiveRun, no: int | None, why: str, figures: Mapping[str, Any]) -> Decision:
    """The record of ending something before its time."""
    return Decision(run.id, TERMINATE, why, turn.now, no, None, dict(figures))


def _open_parents(run: LiveRun, no: int) -> list[int]:
    step = run.step(no)
    return [each for each in step.parents if each != step.fallback_of and not run.steps[each].state.final]


def _only_for(run: LiveRun, no: int, join: int, gone: set[int]) -> bool:
    """Whether whoever waits for step ``no`` is the step of the join, has started, or is not needed either."""
    return all(
        child == join
        or child in gone
        or child == run.step(no).fallback
        or (run.steps[child].state is not StepState.WAITING and not run.steps[child].ahead)
        for child in run.step(no).children
    )
