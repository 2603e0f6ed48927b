"""Whether anybody may still take up what a step left with somebody outside, such as a provider's batch of calls.

What waits there holds no slot, so stopping a run stops nothing of it. It is wanted as long as a step may yet
start, or runs, that the step's output reaches, or the run hands that output on. Ends nothing itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.dag.compiled import CompiledPlan, CompiledStep
from engine.scheduling.records import RunState, StepState


def wanted(plan: CompiledPlan, states: Sequence[StepState], run: RunState, no: int) -> bool:
    """Whether what step ``no`` left is still to be taken up.

    Parameters
    ----------
    states
        Of all steps of the plan, by number.
    run
        The state of the run. One that is being stopped may yet end as succeeded.
    """
    if run.final and run is not RunState.SUCCEEDED:
        return False
    if not states[no].final and not run.final:
        return True
    reached = {no} if states[no] is StepState.SUCCEEDED else set()
    left = list(reached)
    while left:
        given = left.pop()
        for child in _told(plan, given):
            if not states[child].final:
                return True
            # What failed, was skipped or stopped hands nothing on.
            if states[child] is StepState.SUCCEEDED and child not in reached:
                reached.add(child)
                left.append(child)
    return not reached.isdisjoint(plan.names.values())


def _told(plan: CompiledPlan, no: int) -> list[int]:
    """The steps that get the output of step ``no``; those that only wait for it get nothing."""
    return [step.no for step in plan.steps if step.no > no and no in _reads(step)]


def _reads(step: CompiledStep) -> set[int | None]:
    return {*step.names.values(), *step.reads, step.inputs_step, step.child.given if step.child is not None else None}
