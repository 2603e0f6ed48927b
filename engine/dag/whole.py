"""From what an author wrote to what can be stored and run, with everything that is wrong told at once.

Reading, putting sub-plans in and compiling each stop at their own problems. Here each goes on with
what the one before could save, and the author gets one list.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.dag.compile import compile_plan, freeze_task_defaults
from engine.dag.compiled import CompiledPlan
from engine.errors import PlanError, Problem
from engine.plan.model import Plan
from engine.plan.problems import news
from engine.plan.registry import Registry
from engine.plan.salvage import BrokenPlanError
from engine.plan.subplans import resolve


def whole_plan(load: Callable[[], Plan], find: Callable[[str], Plan], registry: Registry) -> tuple[Plan, CompiledPlan]:
    """A plan with its sub-plans and its task types' defaults written in, and its compiled form.

    Parameters
    ----------
    load
        Gives the plan; raises ``PlanError``.
    find
        Gives a sub-plan of its name; raises ``NotFound`` or ``PlanError``.

    Raises
    ------
    PlanError
        With every problem of the file, of its sub-plans, and of all of them together.
    """
    problems: list[Problem] = []
    plan = _rest_of(load, problems)
    if plan is not None:
        written = plan
        plan = _rest_of(lambda: resolve(written, find), problems)
    if plan is not None:
        frozen = freeze_task_defaults(plan, registry)
        try:
            compiled = compile_plan(frozen, registry)
        except PlanError as error:
            problems += news(error.problems, problems)
        else:
            if not problems:
                return frozen, compiled
    raise PlanError(problems)


def _rest_of(read: Callable[[], Plan], problems: list[Problem]) -> Plan | None:
    try:
        return read()
    except BrokenPlanError as error:
        problems += error.problems
        return error.rest
