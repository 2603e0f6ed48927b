"""Sub-plans written into the plan that names them.

A step ``s`` with a sub-plan becomes an entering step ``s/inputs``, which holds the inputs and carries
the step's own edges and condition; the inner steps ``s/…``; and a leaving step called ``s`` itself,
whose output is the sub-plan's outputs, so that ``steps.s.output`` means what it says.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from engine.dag.drafts import Draft, Problems, Scope, join_of
from engine.plan.document import Loc
from engine.plan.model import Plan, Step
from engine.plan.tasktype import Effects
from engine.plan.templates import has_template, texts

STEPS_LIMIT = 250_000
"""Steps of one plan with all its sub-plans written in."""

ENTER_TASK, LEAVE_TASK = "plan.inputs", "plan.outputs"

# Clauses that belong to one task's attempts: on a whole sub-plan they would do nothing.
_OF_TASKS = ("retry", "timeout", "queue", "effects", "max_parallel", "pools", "skill", "phase", "on_failure")


def inline(plan: Plan, problems: Problems) -> tuple[list[Draft], list[Scope]]:
    """Every step of ``plan`` and of the plans in it, and their scopes, that of the whole plan first."""
    drafts: list[Draft] = []
    scopes: list[Scope] = []
    _add_scope(Scope(plan), scopes, drafts, problems)
    return drafts, scopes


def _add_scope(scope: Scope, scopes: list[Scope], drafts: list[Draft], problems: Problems) -> None:
    scopes.append(scope)
    for name, step in scope.plan.steps.items():
        if len(drafts) > STEPS_LIMIT:
            problems.add(f"with its sub-plans the plan has more than {STEPS_LIMIT:,} steps", scope.where)
            return
        where = (*scope.where, "steps", name)
        if step.plan is not None:
            _add_sub_plan(name, step, scope, scopes, drafts, problems)
            continue
        assert step.task is not None
        scope.names[name] = len(drafts)
        scope.ends.append((len(drafts), len(drafts)))
        path = scope.prefix + name
        drafts.append(Draft(path, where, step, step.task, step.with_, scope, join_of(step), step.when))


def _add_sub_plan(
    name: str, step: Step, outer: Scope, scopes: list[Scope], drafts: list[Draft], problems: Problems
) -> None:
    path, where = outer.prefix + name, (*outer.where, "steps", name)
    if not isinstance(step.plan, Plan):
        problems.add(f"the sub-plan {step.plan!r} was not put in; resolve the plan first", (*where, "plan"))
        outer.names[name] = len(drafts)  # so that references to it are no problems of their own
        drafts.append(Draft(path, where, _built_in(step, ENTER_TASK, {}), ENTER_TASK, {}, outer, join_of(step)))
        return
    _check_clauses(step, where, problems)
    given = _given_inputs(step, step.plan, where, problems)
    enter = len(drafts)
    inner = Scope(step.plan, f"{path}/", (*where, "plan"), enter=enter)
    entering = _built_in(step, ENTER_TASK, given)
    drafts.append(Draft(f"{path}/inputs", where, entering, ENTER_TASK, given, outer, join_of(step), step.when))
    _add_scope(inner, scopes, drafts, problems)
    inner.leave = outer.names[name] = len(drafts)
    outer.ends.append((enter, inner.leave))
    outputs = {} if step.plan.outputs is None else {"value": step.plan.outputs}
    leaving = _built_in(step, LEAVE_TASK, outputs).model_copy(update={"after": (), "join": "all", "when": None})
    drafts.append(Draft(path, (*where, "plan"), leaving, LEAVE_TASK, outputs, inner, join_of(leaving)))


def _built_in(step: Step, task: str, arguments: dict[str, Any]) -> Step:
    plain = {clause: Step.model_fields[clause].default for clause in _OF_TASKS}
    facts = {"task": task, "plan": None, "with_": arguments, "queue": "io", "effects": Effects.NONE, "for_each": None}
    return step.model_copy(update={**plain, **facts})


def _check_clauses(step: Step, where: Loc, problems: Problems) -> None:
    if step.for_each is not None:
        problems.add(
            "for_each over a sub-plan is not supported yet: make the item's work one task, "
            "or submit the sub-plan once an item",
            (*where, "for_each"),
        )
    for clause in _OF_TASKS:
        if getattr(step, clause) != Step.model_fields[clause].default:
            problems.add("not supported on a sub-plan: put it on the steps inside", (*where, clause), of_key=True)


def _given_inputs(step: Step, plan: Plan, where: Loc, problems: Problems) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, value in step.with_.items():
        if name not in plan.inputs:
            what = f"plan {plan.name!r} has no input"
            problems.add_unknown(what, name, plan.inputs, (*where, "with", name), of_key=True)
            continue
        given[name] = value
        if next(texts(value), None) is None:
            try:
                plan.inputs[name].parse(value)
            except ValidationError as error:
                why = error.errors(include_url=False, include_context=False, include_input=False)[0]["msg"]
                problems.add(f"no {plan.inputs[name].type}: {why}", (*where, "with", name))
    for name, declared in plan.inputs.items():
        if name in given:
            continue
        if declared.required:
            problems.add(f"plan {plan.name!r} needs the input {name!r}", (*where, "with"))
        else:
            given[name] = _literal(declared.default)
    return given


def _literal(value: Any) -> Any:
    """A default, written so that rendering gives it back: defaults are data, not templates."""
    if isinstance(value, str) and has_template(value):
        return f"{{{{ {json.dumps(value)} }}}}"
    if isinstance(value, dict):
        return {key: _literal(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_literal(entry) for entry in value]
    return value
