"""A plan that a step of a running plan made: read, bounded and compiled like any other.

Who made it may be a model that was told what to do by anybody, so it may name only the task types
that the author listed, with the effects and queues those have; and every problem is told at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from engine.dag.compile import compile_plan
from engine.dag.compiled import ChildRuns, CompiledPlan, TaskFacts
from engine.dag.prefetches import frozen_prefetch
from engine.dag.task_facts import facts_data
from engine.errors import PlanError, Problem
from engine.plan.model import Plan, Step, plan_data
from engine.plan.names import nearest
from engine.plan.subplans import DEPTH_LIMIT
from engine.plan.tasktype import Effects

_SHOWN = 20
_PARTS = frozenset({"name", "description", "steps", "outputs"})
_NOT_ITS_TO_SAY = (
    "effects", "queue", "pools", "model", "needs", "quality", "importance", "budget", "cache", "invalidates",
)  # fmt: skip
"""What the author decides: where and how often a step runs, and what it may spend."""
_NOT_A_SUB_PLANS = ("budget", "model", "quality", "pools", "priority")
_SECRET = "secret://"  # noqa: S105 - how a plan refers to one


def expanded(data: Any, inputs: Sequence[str], child: ChildRuns, path: str) -> tuple[CompiledPlan, dict[str, Any]]:
    """The plan that ``data`` describes, compiled and as JSON data.

    Parameters
    ----------
    data
        ``{steps: …, outputs: …}``, or a list of steps, each with its ``name``.
    inputs
        Names of the inputs it is given.
    path
        The step that runs it: names the plan, and begins every problem.

    Raises
    ------
    PlanError
        Everything that is wrong with it.
    """
    name = path.rpartition("/")[2].replace("_", "-")
    whole = {**_as_plan(data, path), "name": name, "inputs": {each: {"required": False} for each in inputs}}
    try:
        plan = Plan.model_validate(whole)
    except ValidationError as error:
        told = error.errors(include_url=False, include_input=False, include_context=False)
        raise _wrong(path, [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in told]) from error
    problems = list(_problems(plan, child, (), 1))
    count = _count(plan)
    if count > child.steps_max:
        problems.append(f"it has {count} steps, and may have {child.steps_max}")
    frozen = _frozen(plan, child)
    try:
        compiled = compile_plan(frozen)
    except PlanError as error:
        raise _wrong(path, [*problems, *(problem.message for problem in error.problems)]) from error
    if problems:
        raise _wrong(path, problems)
    return compiled, plan_data(frozen)


def _as_plan(data: Any, path: str) -> dict[str, Any]:
    if isinstance(data, Mapping):
        unknown = sorted(map(str, data.keys() - _PARTS))
        if unknown:
            raise _wrong(path, [f"a plan made by a step has steps and outputs, not {', '.join(unknown[:_SHOWN])}"])
        return dict(data)
    if not isinstance(data, list):
        raise _wrong(path, [f"it must be a mapping with steps, or a list of steps, not {type(data).__name__}"])
    steps: dict[str, Any] = {}
    problems = []
    for number, step in enumerate(data):
        named = step.get("name") if isinstance(step, Mapping) else None
        if not isinstance(named, str):
            problems.append(f"steps.{number}: a step in a list needs a name")
        elif named in steps:
            problems.append(f"steps.{number}: there is a step {named!r} already")
        else:
            steps[named] = {key: value for key, value in step.items() if key != "name"}
    if problems:
        raise _wrong(path, problems)
    return {"steps": steps}


def _problems(plan: Plan, child: ChildRuns, above: tuple[str, ...], depth: int) -> Iterator[str]:
    """What such a plan may not say, though another may."""
    for name, step in plan.steps.items():
        where = ".".join((*above, name))
        for clause in _NOT_ITS_TO_SAY:
            if getattr(step, clause) not in (None, ()):
                yield f"{where}: a plan made by a step says nothing of {clause}"
        if any(check.command is not None or check.model is not None for check in step.check or ()):
            yield f"{where}: a check in a plan made by a step runs no command and names no model"
        if _names_a_secret(step.with_):
            yield f"{where}: a plan made by a step names no secret"
        if isinstance(step.for_each, list) and len(step.for_each) > child.items_max:
            yield f"{where}: it has {len(step.for_each):,} items, and may have {child.items_max:,}"
        if step.expand is not None and step.expand.task_types:
            yield f"{where}: a plan made by a step says nothing of task_types"
        for task in (step.task, *(step.expand.tasks if step.expand is not None else ())):
            if task is not None and task not in child.tasks:
                yield f"{where}: task type {task!r} is not among those allowed{nearest(task, child.tasks)}"
        if step.task is not None and step.task in child.tasks:
            yield from _argument_problems(where, step, child.tasks[step.task])
        if isinstance(step.plan, str):
            yield f"{where}: a plan made by a step holds its sub-plans, it does not name them"
        elif step.plan is not None and depth >= DEPTH_LIMIT:
            yield f"{where}: sub-plans lie more than {DEPTH_LIMIT} deep"
        elif step.plan is not None:
            for clause in _NOT_A_SUB_PLANS:
                if clause in step.plan.model_fields_set:
                    yield f"{where}: a plan made by a step says nothing of {clause}"
            yield from _problems(step.plan, child, (*above, name), depth + 1)


def _names_a_secret(value: Any) -> bool:
    """Whether a worker would take a text in ``value`` for a secret's name."""
    if isinstance(value, Mapping):
        return any(_names_a_secret(part) for part in value.values())
    if isinstance(value, list):
        return any(_names_a_secret(part) for part in value)
    return isinstance(value, str) and value.startswith(_SECRET)


def _argument_problems(where: str, step: Step, facts: TaskFacts) -> Iterator[str]:
    if not facts.any_argument:
        for name in sorted(step.with_.keys() - facts.arguments):
            yield f"{where}: {step.task} has no argument {name!r}{nearest(name, facts.arguments)}"
    for name in sorted(facts.required - step.with_.keys()):
        yield f"{where}: {step.task} needs the argument {name!r}"


def _count(plan: Plan) -> int:
    return sum(1 + (_count(step.plan) if isinstance(step.plan, Plan) else 0) for step in plan.steps.values())


def _frozen(plan: Plan, child: ChildRuns) -> Plan:
    """``plan`` with what it is bound to written into it: it is stored so, and read again after a crash."""
    tasks = child.tasks
    steps: dict[str, Step] = {}
    for name, step in plan.steps.items():
        facts = tasks.get(step.task) if step.task is not None else None
        if isinstance(step.for_each, str):
            most = child.items_max if step.max_items is None else min(step.max_items, child.items_max)
            step = step.model_copy(update={"max_items": most})
        if isinstance(step.plan, Plan):
            step = step.model_copy(update={"plan": _frozen(step.plan, child)})
        elif step.expand is not None:
            known = {task: facts_data(tasks[task]) for task in step.expand.tasks if task in tasks}
            bounds = {"task_types": known, "max_items": min(step.expand.max_items, child.items_max)}
            step = step.model_copy(update={"expand": step.expand.model_copy(update=bounds)})
        elif facts is not None:
            timeout = step.timeout if step.timeout is not None else facts.timeout_s
            bound = {"effects": Effects(facts.effects), "queue": facts.queue, "timeout": timeout}
            step = step.model_copy(update={**bound, "prefetch": frozen_prefetch(step.prefetch, facts.prefetch)})
        steps[name] = step
    return plan.model_copy(update={"steps": steps})


def _wrong(path: str, problems: Sequence[str]) -> PlanError:
    more = [f"… and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    return PlanError([Problem(f"{path}: {text}") for text in [*problems[:_SHOWN], *more]])
