"""Which results of a run that ended can serve a new run of the same plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from engine.dag.compiled import CompiledPlan
from engine.scheduling.records import StepState
from engine.store.reuse import Reuse
from engine.store.views import StepView


def reusable(run_id: str, plan: CompiledPlan, steps: Iterable[StepView], again: Collection[int] = ()) -> Reuse:
    """What a retry of ``run_id`` takes over: all but what failed, and what hangs below it.

    Parameters
    ----------
    steps
        The run's steps, as stored.
    again
        Numbers of further steps that are to run again.
    """
    views = {view.step_no: view for view in steps}
    roots = {
        no for no, view in views.items() if view.failed or view.state not in (StepState.SUCCEEDED, StepState.SKIPPED)
    }
    roots |= set(again)
    below = _descendants(plan, roots)
    # A step skipped because its join could not hold hangs below what failed; any other skip stands.
    whole = [no for no, view in views.items() if no not in roots and no not in below]
    partly = [
        no
        for no in roots
        if no not in below and no not in again and plan.steps[no].fanned and views[no].count is not None
    ]
    return Reuse(run_id, tuple(whole), tuple(partly))


def without_lineage(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags that say nothing of which run a run repeats."""
    return tuple(tag for tag in tags if not tag.startswith("retry-of:"))


def _descendants(plan: CompiledPlan, roots: Iterable[int]) -> set[int]:
    found: set[int] = set()
    todo = list(roots)
    while todo:
        for child in plan.steps[todo.pop()].children:
            if child not in found:
                found.add(child)
                todo.append(child)
    return found
