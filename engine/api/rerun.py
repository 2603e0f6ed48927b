"""Which results of a run that ended can serve a new one, and why the others cannot. Pure: reads and writes nothing.

Steps are told by their paths, so that the new run may be of a changed plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from engine.dag.code import step_code
from engine.dag.compiled import ChildRuns, CompiledPlan, CompiledStep
from engine.plan import expressions
from engine.plan.references import References
from engine.plan.templates import references
from engine.scheduling.records import StepState
from engine.store.reuse import Reuse
from engine.store.views import StepView


class Fate(StrEnum):
    """What becomes of a step's results in the new run."""

    TAKEN = "taken over"  # all of them hold
    PARTLY = "partly"  # of a fan-out, those of the nodes that succeeded hold; the others run
    AGAIN = "runs again"  # none is used
    NEW = "new"  # there are none


@dataclass(frozen=True, slots=True)
class StepFate:
    """What becomes of one step of the new run.

    Parameters
    ----------
    no, path, task
        The step, as the new run has it.
    why
        Why it is not taken over as a whole, or what is to be known of it if it is; else empty.
    earlier_no
        Its number in the earlier run; ``None`` if it is new.
    nodes, nodes_taken
        How many nodes it had in the earlier run, ``None`` if that is not known; how many are taken over.
    """

    no: int
    path: str
    task: str
    fate: Fate
    why: str
    earlier_no: int | None = None
    nodes: int | None = None
    nodes_taken: int = 0


CODE_CHANGED = "code changed"
CODE_KEPT = "code changed, kept all the same"


def fates(
    earlier: CompiledPlan,
    new: CompiledPlan,
    steps: Iterable[StepView],
    code: Mapping[str, str],
    *,
    again: Collection[int] = (),
    changed_inputs: Collection[str] = (),
    keep: bool = False,
) -> list[StepFate]:
    """What becomes of each step, in the order of ``new``.

    A step is taken over if it ended well, and it is the same in both plans, as is its code, and all
    its parents are taken over.

    Parameters
    ----------
    steps
        The earlier run's steps, as stored.
    code
        The hash of each task type's code as it is now. What has no hash, now or then, counts as the same.
    again
        Numbers, in ``new``, of steps that are to run again.
    changed_inputs
        Names of the run's inputs that have another value now.
    keep
        Take over what other code made, too.
    """
    views = {view.path: view for view in steps}
    numbers = {step.path: step.no for step in earlier.steps}
    found: list[StepFate] = []
    blamed: dict[int, str] = {}
    for step in new.steps:
        view = views.get(step.path)
        cause = next((blamed[parent] for parent in step.parents if parent in blamed), None)
        if view is None or step.path not in numbers:
            fate = StepFate(step.no, step.path, step.task, Fate.NEW, "")
        else:
            now = step_code(step, code)
            other_code = None not in (now, view.code_hash) and now != view.code_hash and _has_results(view)
            why = ""
            if step.no in again:
                why = "asked for"
            elif definition(earlier, numbers[step.path]) != definition(new, step.no):
                why = "definition changed"
            elif reads_of_inputs(step, changed_inputs):
                why = "inputs changed"
            elif other_code and not keep:
                why = CODE_CHANGED
            elif cause is not None:
                why = f"below {cause}"
            fate = _judged(step, view, numbers[step.path], why, kept=other_code)
        if fate.fate is not Fate.TAKEN:
            blamed[step.no] = cause if fate.why.startswith("below ") and cause is not None else step.path
        found.append(fate)
    return found


def reuse_of(run_id: str, steps: Iterable[StepFate]) -> Reuse:
    """What the store is to take over from ``run_id``."""
    known = [(step.fate, step.earlier_no, step.no) for step in steps if step.earlier_no is not None]
    return Reuse(
        run_id,
        {old: new for fate, old, new in known if fate is Fate.TAKEN},
        {old: new for fate, old, new in known if fate is Fate.PARTLY},
    )


def definition(plan: CompiledPlan, no: int) -> Any:
    """What a step is, apart from its place in a plan: two that are equal give the same from the same inputs.

    How it is run (queue, retry, timeout, limits, pools) is no part of that.
    """
    step = plan.steps[no]
    return (
        step.task, step.with_, step.for_each, step.when, step.when_per_item, step.join, step.on_failure,
        {name: plan.steps[number].path for name, number in step.names.items()},
        sorted(plan.steps[number].path for number in step.parents),
        [None if number is None else plan.steps[number].path for number in (step.inputs_step, step.fallback)],
        None if step.child is None else _definition_of_runs(plan, step.child),
    )  # fmt: skip


def reads_of_inputs(step: CompiledStep, names: Collection[str]) -> bool:
    """Whether the step reads one of the run's inputs of these names."""
    if step.inputs_step is not None or not names:
        return False
    read = set(step.reads_inputs)
    for found in _conditions(step):
        read |= set(names) if found.all_inputs else found.inputs
    return not read.isdisjoint(names)


def without_lineage(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags that say nothing of which run a run repeats."""
    return tuple(tag for tag in tags if not tag.startswith("retry-of:"))


def _judged(step: CompiledStep, view: StepView, earlier_no: int, why: str, *, kept: bool) -> StepFate:
    """The fate of a step that both runs have; ``why`` is what speaks against taking it over, but for its end."""
    fate, taken, nodes = Fate.AGAIN, 0, view.count
    if not why and not view.failed and view.state in (StepState.SUCCEEDED, StepState.SKIPPED):
        fate, taken = Fate.TAKEN, view.succeeded + view.skipped
        why = CODE_KEPT if kept else ""
    elif not why:
        why = "failed" if view.failed or view.state is StepState.FAILED else _not_done(view)
        if step.fanned and view.count is not None:
            fate, taken = Fate.PARTLY, view.succeeded
    return StepFate(step.no, step.path, step.task, fate, why, earlier_no, nodes, taken)


def _not_done(view: StepView) -> str:
    return "cancelled" if view.state is StepState.CANCELLED else "has not ended"


def _has_results(view: StepView) -> bool:
    """Whether code may have made something of it: a step that was skipped as a whole has nothing to distrust."""
    return view.state is not StepState.SKIPPED


def _conditions(step: CompiledStep) -> Iterator[References]:
    if step.when is not None:
        yield expressions.references(step.when)
    if step.for_each is not None:
        yield references(step.for_each)


def _definition_of_runs(plan: CompiledPlan, child: ChildRuns) -> Any:
    below = None
    if child.plan is not None:
        inner = child.plan
        below = (
            inner.outputs,
            {name: inner.steps[number].path for name, number in inner.names.items()},
            {step.path: definition(inner, step.no) for step in inner.steps},
        )
    bounds = (child.until, child.rounds_max, child.time_max_s, child.steps_max)
    return child.kind, plan.steps[child.given].path, bounds, sorted(child.tasks), below
