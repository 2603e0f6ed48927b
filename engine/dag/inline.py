"""Sub-plans written into the plan that names them.

A step ``s`` with a sub-plan becomes an entering step ``s/inputs``, which holds the inputs and carries
the step's own edges and condition; the inner steps ``s/…``; and a leaving step called ``s`` itself,
whose output is the sub-plan's outputs, so that ``steps.s.output`` means what it says.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from engine.dag.compiled import ChildKind
from engine.dag.drafts import Draft, Problems, Scope, join_of
from engine.errors import UsageError
from engine.plan import expressions
from engine.plan.care import STEP_CLAUSES
from engine.plan.document import Loc
from engine.plan.given import declared_inputs
from engine.plan.model import Plan, Step
from engine.plan.tasktype import Effects
from engine.plan.templates import has_template, texts

STEPS_LIMIT = 250_000
"""Steps of one plan with all its sub-plans written in."""

ENTER_TASK, LEAVE_TASK, RUN_TASK = "plan.inputs", "plan.outputs", "plan.run"
BUILT_IN = (ENTER_TASK, LEAVE_TASK, RUN_TASK)
"""Tasks of the engine's own; the last is no worker's: its nodes are runs."""

MAX_PARALLEL = 50
"""Runs of one mapped sub-plan at once, unless its step says otherwise."""

# Clauses that belong to one task's attempts: on a whole sub-plan they would do nothing.
_OF_TASKS = ("retry", "timeout", "queue", "effects", "max_parallel", "max_failures", "pools", "skill",
            "phase", "on_failure", "guess", "prefetch", "enough", "vote", *STEP_CLAUSES)  # fmt: skip
_NOT_OF_RUNS = ("queue", "effects", "pools", "guess", "prefetch")
_GIVEN_BY_LOOPS = frozenset({"previous", "round"})


def inline(plan: Plan, problems: Problems, where: Loc = ()) -> tuple[list[Draft], list[Scope]]:
    """Every step of ``plan`` and of the plans in it, and their scopes, that of the whole plan first.

    ``where`` is the plan's own place, for problems.
    """
    drafts: list[Draft] = []
    scopes: list[Scope] = []
    _add_scope(Scope(plan, "", where), scopes, drafts, problems)
    return drafts, scopes


def _add_scope(scope: Scope, scopes: list[Scope], drafts: list[Draft], problems: Problems) -> None:
    scopes.append(scope)
    for name, step in scope.plan.steps.items():
        if len(drafts) > STEPS_LIMIT:
            problems.add(f"with its sub-plans the plan has more than {STEPS_LIMIT:,} steps", scope.where)
            return
        where = (*scope.where, "steps", name)
        if step.expand is not None or (isinstance(step.plan, Plan) and _is_a_run(step, step.plan)):
            _add_child_runs(name, step, scope, drafts, problems)
            continue
        if step.plan is not None:
            _add_sub_plan(name, step, scope, scopes, drafts, problems)
            continue
        assert step.task is not None
        scope.names[name] = len(drafts)
        scope.ends.append((len(drafts), len(drafts)))
        path = scope.prefix + name
        drafts.append(Draft(path, where, step, step.task, step.with_, scope, join_of(step), step.when))


def _is_a_run(step: Step, plan: Plan) -> bool:
    """Whether a sub-plan is run instead of written in: many times, or to an end of its own."""
    return step.loop is not None or step.for_each is not None or plan.ends_early


def _add_sub_plan(
    name: str, step: Step, outer: Scope, scopes: list[Scope], drafts: list[Draft], problems: Problems
) -> None:
    path, where = outer.prefix + name, (*outer.where, "steps", name)
    if not isinstance(step.plan, Plan):
        problems.add(f"the sub-plan {step.plan!r} was not put in; resolve the plan first", (*where, "plan"))
        outer.names[name] = len(drafts)  # so that references to it are no problems of their own
        drafts.append(Draft(path, where, _built_in(step, ENTER_TASK, {}), ENTER_TASK, {}, outer, join_of(step)))
        return
    _check_clauses(step, _OF_TASKS, where, problems)
    given = _given_inputs(step, step.plan, where, problems)
    enter = len(drafts)
    inner = Scope(step.plan, f"{path}/", (*where, "plan"), enter=enter)
    entering = _built_in(step, ENTER_TASK, given)
    drafts.append(
        Draft(
            f"{path}/inputs", where, entering, ENTER_TASK, given, outer, join_of(step), step.when,
            declared=declared_inputs(step.plan),
        )
    )  # fmt: skip
    _add_scope(inner, scopes, drafts, problems)
    inner.leave = outer.names[name] = len(drafts)
    outer.ends.append((enter, inner.leave))
    outputs = {} if step.plan.outputs is None else {"value": step.plan.outputs}
    leaving = _built_in(step, LEAVE_TASK, outputs).model_copy(update={"after": (), "join": "all", "when": None})
    drafts.append(Draft(path, (*where, "plan"), leaving, LEAVE_TASK, outputs, inner, join_of(leaving)))


def _add_child_runs(name: str, step: Step, outer: Scope, drafts: list[Draft], problems: Problems) -> None:
    """The step's inputs are made by a node of ``NAME/inputs`` each, and ``NAME`` runs a plan with each of them."""
    path, where = outer.prefix + name, (*outer.where, "steps", name)
    _check_clauses(step, _NOT_OF_RUNS, where, problems)
    if isinstance(step.plan, Plan):
        given = _given_inputs(step, step.plan, where, problems, _GIVEN_BY_LOOPS if step.loop else frozenset())
    else:
        assert step.expand is not None
        given = {"plan": step.expand.plan, "inputs": step.with_}
    if step.loop is not None and step.loop.until is not None:
        _check_round(step.loop.until, (*where, "loop", "until"), problems)
    if step.loop is not None and step.loop.enough is not None:
        _check_round(step.loop.enough.score, (*where, "loop", "enough", "score"), problems)
    fanned, fails = step.for_each is not None, step.on_failure == "fail"
    enter = len(drafts)
    # Inputs that cannot be made are a failure of the step's own: its node then fails for want of them.
    entering = _built_in(step, ENTER_TASK, given).model_copy(
        update={"for_each": step.for_each, "on_failure": "fail" if fails else "continue"}
    )
    drafts.append(
        Draft(
            f"{path}/inputs", where, entering, ENTER_TASK, given, outer, join_of(step), step.when,
            declared=declared_inputs(step.plan),
        )
    )  # fmt: skip
    facts = {
        "effects": Effects.IDEMPOTENT, "queue": RUN_TASK, "after": (), "join": "all", "when": None,
        "for_each": "{{ steps.inputs.output }}" if fanned else None,
        "max_parallel": (step.max_parallel or MAX_PARALLEL) if fanned else None,
    }  # fmt: skip
    running = step.model_copy(update=facts)
    draft = Draft(path, where, running, RUN_TASK, {}, outer, join_of(running), names={"inputs": enter}, parents={enter})
    draft.child = ChildKind.EXPAND if step.expand is not None else ChildKind.LOOP if step.loop else ChildKind.MAP
    if fanned and (step.when is not None or not fails):
        draft.when, draft.when_per_item = "item != null", True  # items that were skipped have no inputs
    outer.names[name] = len(drafts)
    outer.ends.append((enter, len(drafts)))
    drafts.append(draft)


def _check_round(expression: str, where: Loc, problems: Problems) -> None:
    known = ("output", "round", "inputs")
    try:
        unknown = sorted(expressions.names(expression) - set(known))
    except UsageError as error:
        problems.add(str(error), where)
        return
    for name in unknown:
        problems.add_unknown("the condition of a loop knows output, round and inputs, not", name, known, where)


def _built_in(step: Step, task: str, arguments: dict[str, Any]) -> Step:
    plain = {clause: Step.model_fields[clause].default for clause in _OF_TASKS}
    facts = {
        "task": task,
        "plan": None,
        "with_": arguments,
        "queue": "io",
        "effects": Effects.NONE,
        "for_each": None,
        "loop": None,
        "expand": None,
    }
    return step.model_copy(update={**plain, **facts})


def _check_clauses(step: Step, clauses: Iterable[str], where: Loc, problems: Problems) -> None:
    for clause in clauses:
        if getattr(step, clause) != Step.model_fields[clause].default:
            problems.add("not supported on a sub-plan: put it on the steps inside", (*where, clause), of_key=True)


def _given_inputs(
    step: Step, plan: Plan, where: Loc, problems: Problems, later: frozenset[str] = frozenset()
) -> dict[str, Any]:
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
        if declared.required and name in later:
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
