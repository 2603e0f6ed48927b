"""Which code the results of a step come from: its task type's, or that of all the tasks its runs may use.

Hashes are made by ``engine.plan.code``; here they are only looked up and put together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from engine.dag.compiled import CompiledPlan, CompiledStep
from engine.plan.code import combined_hash


def tasks_used(plan: CompiledPlan) -> set[str]:
    """The names of all task types that a run of ``plan`` may use, those of the runs below it included."""
    return {task for step in plan.steps for task in _tasks(step)}


def step_code(step: CompiledStep, hashes: Mapping[str, str]) -> str | None:
    """The hash of the code of ``step``; ``None`` where it has none, or none is known.

    Parameters
    ----------
    hashes
        By task type. Those of the engine's own are empty: an upgrade of the engine is no change of code.
    """
    if step.child is None:
        return hashes.get(step.task) or None
    used = {task: hashes.get(task) for task in _tasks(step)}
    known = {task: each for task, each in used.items() if each}
    return combined_hash(known) if known and None not in used.values() else None


def _tasks(step: CompiledStep) -> Iterator[str]:
    if step.child is None:
        yield step.task
        return
    yield from step.child.tasks
    if step.child.plan is not None:
        yield from tasks_used(step.child.plan)
