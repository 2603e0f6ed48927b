"""When a step may start: its join, judged from counts of its parents."""

from __future__ import annotations

from enum import Enum

from engine.dag.compiled import JoinKind
from engine.scheduling.records import StepState
from engine.scheduling.state import LiveRun, StepProgress

LENIENT = (JoinKind.ANY, JoinKind.AT_LEAST, JoinKind.TOLERATE, JoinKind.UNTIL)
"""Joins that may hold though a parent failed."""


class JoinVerdict(Enum):
    """What a join says now."""

    HOLDS = "holds"
    OPEN = "open"  # may hold later
    NEVER = "never"  # whatever the open parents do


def judge(run: LiveRun, no: int) -> JoinVerdict:
    """Whether the join of step ``no`` holds. Constant time but for ``tolerate``."""
    step, progress = run.step(no), run.steps[no]
    parents = len(step.parents) - (1 if step.fallback_of in step.parents else 0)
    ended_badly = parents - progress.open_parents - progress.good_parents
    match step.join.kind:
        case JoinKind.ALL:
            if ended_badly:
                return JoinVerdict.NEVER
            return JoinVerdict.OPEN if progress.open_parents else JoinVerdict.HOLDS
        case JoinKind.ANY:
            return _enough(progress, 1 if parents else 0)
        case JoinKind.AT_LEAST:
            return _enough(progress, step.join.count)
        case JoinKind.ALL_DONE:
            return JoinVerdict.OPEN if progress.open_parents else JoinVerdict.HOLDS
        case JoinKind.TOLERATE:
            if progress.open_parents:
                return JoinVerdict.OPEN
            holds = all(_tolerable(run.steps[parent], step.join.share) for parent in step.parents)
            return JoinVerdict.HOLDS if holds else JoinVerdict.NEVER
        case JoinKind.UNTIL:
            return JoinVerdict.HOLDS if progress.held else JoinVerdict.OPEN  # asked once a parent ended


def excused(run: LiveRun, no: int) -> bool:
    """Whether the failure of step ``no`` was one that all its consumers said they can do without."""
    children = [child for child in run.step(no).children if run.step(child).fallback_of != no]
    return bool(children) and all(
        run.step(child).join.kind in LENIENT and run.steps[child].state is StepState.SUCCEEDED for child in children
    )


def may_be_excused(run: LiveRun, no: int) -> bool:
    """Whether the failure of step ``no`` is, or may turn out to be, one that its consumers can do without."""
    children = [child for child in run.step(no).children if run.step(child).fallback_of != no]
    return bool(children) and all(
        run.step(child).join.kind in LENIENT
        and (not run.steps[child].state.final or run.steps[child].state is StepState.SUCCEEDED)
        for child in children
    )


def unmet_reason(run: LiveRun, no: int) -> str:
    """Why the join of step ``no`` can no longer hold, for people."""
    step = run.step(no)
    ended = [(run.step(p).path, run.steps[p].state) for p in step.parents if p != step.fallback_of]
    bad = [f"{path} {state}" for path, state in ended if state.final and state is not StepState.SUCCEEDED]
    return f"join {step.join.kind} cannot hold: " + ", ".join(bad[:5]) + (", …" if len(bad) > 5 else "")


def _enough(progress: StepProgress, wanted: int) -> JoinVerdict:
    if progress.good_parents >= wanted:
        return JoinVerdict.HOLDS
    return JoinVerdict.OPEN if progress.good_parents + progress.open_parents >= wanted else JoinVerdict.NEVER


def _tolerable(parent: StepProgress, share: float) -> bool:
    if parent.state is StepState.SUCCEEDED:
        return True
    return parent.state is StepState.FAILED and bool(parent.count) and parent.failed <= share * (parent.count or 0)
