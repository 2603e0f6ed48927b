"""From a plan to what the scheduler reads: numbered steps, edges between steps.

Compiling needs no task modules: the scheduler compiles stored plans into which
``freeze_task_defaults`` has written what the task types say. With a registry, task names and the
names of their arguments are checked as well. Every problem of a plan comes at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from engine.dag.care import care_of, clause_data
from engine.dag.compiled import (
    ChildKind,
    ChildRuns,
    CompiledPlan,
    CompiledStep,
    Ending,
    Enough,
    OnFailure,
    Voting,
)
from engine.dag.drafts import Draft, Problems, Scope
from engine.dag.edges import check_outputs, condition_names, connect
from engine.dag.guesses import with_guesses
from engine.dag.inline import ENTER_TASK, LEAVE_TASK, inline
from engine.dag.ordering import cycles, generations
from engine.dag.prefetches import arguments_ahead, frozen_prefetch, prefetch_of
from engine.dag.task_facts import facts_data, facts_of, facts_of_type
from engine.errors import NotFound, PlanError
from engine.plan.binding import binding_of
from engine.plan.document import Loc
from engine.plan.model import Plan, Step, plan_data, plan_hash
from engine.plan.pauses import uncollected
from engine.plan.problems import placed
from engine.plan.registry import Registry
from engine.plan.stopping import Gains, Impossible
from engine.plan.tasktype import Effects, TaskType

_SHOWN = 20  # steps at either end of a cycle
_ON_FAILURE = {kind.value: kind for kind in OnFailure}


@uncollected
def compile_plan(plan: Plan, registry: Registry | None = None) -> CompiledPlan:
    """The compiled form of a plan whose sub-plans are put in.

    Parameters
    ----------
    registry
        Known task types; ``None`` takes task names and arguments as they are.

    Raises
    ------
    PlanError
        Naming everything that is wrong: cycles, unknown names, joins that cannot hold, and so on.
    """
    problems = Problems()
    compiled = _compiled(plan, (), registry, problems)
    if compiled is None:
        raise PlanError(placed(plan, problems.found))
    return compiled


def _compiled(plan: Plan, where: Loc, registry: Registry | None, problems: Problems) -> CompiledPlan | None:
    """The compiled form of a plan at ``where`` in the whole; ``None`` once anything was found wrong."""
    drafts, scopes = inline(plan, problems, where)
    connect(drafts, scopes, problems)
    if problems.full:
        return None
    below = {
        position: _compiled(draft.step.plan, (*draft.where, "plan"), registry, problems)
        for position, draft in enumerate(drafts)
        if draft.child is not None and isinstance(draft.step.plan, Plan)
    }
    outputs = check_outputs(scopes[0], problems)
    ending = _ending(plan, scopes[0], problems)
    task_types = _task_types(drafts, registry, problems) if registry is not None else {}
    levels = generations(drafts)
    for cycle in cycles(drafts, levels):
        problems.add(f"steps wait for each other: {_way(cycle)}", cycle[0].where, of_key=True)
    if problems.found:
        return None
    order = sorted(range(len(drafts)), key=lambda position: (levels[position] or 0, drafts[position].path))
    return CompiledPlan(
        name=plan.name,
        version=plan_hash(plan),
        steps=with_guesses(_numbered(drafts, order, task_types, plan, below)),
        outputs=plan.outputs,
        names=_renumbered(outputs, order),
        pools={own_pool(plan.name, pool): limit for pool, limit in plan.pools.items()},
        value_of_time_usd_per_h=plan.value_of_time_usd_per_h,
        budget=clause_data(plan.budget) if plan.budget is not None else None,
        ending=None if ending is None else replace(
            ending,
            goal_names=_renumbered(ending.goal_names, order),
            impossible_names=_renumbered(ending.impossible_names, order),
        ),
    )  # fmt: skip


def _ending(plan: Plan, scope: Scope, problems: Problems) -> Ending | None:
    """When a run of the plan ends before its steps have, with positions for numbers."""
    if not plan.ends_early:
        return None
    told = plan.impossible if isinstance(plan.impossible, Impossible) else Impossible.model_construct(
        when=plan.impossible, same_error=None
    )  # fmt: skip
    given_up = plan.stop_when_impossible
    return Ending(
        plan.goal, told.when, told.same_error, (plan.goal is not None) if given_up is None else given_up,
        condition_names(plan.goal, "goal", scope, problems), condition_names(told.when, "impossible", scope, problems),
    )  # fmt: skip


@uncollected
def freeze_task_defaults(plan: Plan, registry: Registry) -> Plan:
    """``plan`` with the effects, queue and timeout of its task types written into its steps.

    Unknown task types are left for ``compile_plan`` to name.
    """
    steps = {name: _frozen(step, registry) for name, step in plan.steps.items()}
    return plan.model_copy(update={"steps": steps})


def own_pool(plan_name: str, pool: str) -> str:
    """The name under which a pool that a plan declares is held: shared by its runs, apart from others'."""
    return f"{plan_name}/{pool}"


def upward_ranks(compiled: CompiledPlan, seconds: Mapping[str, float]) -> tuple[float, ...]:
    """For each step, by number, the seconds of the longest path from it to a sink, itself included.

    Parameters
    ----------
    seconds
        Expected duration by step path; a step that is not in it takes one second.

    References
    ----------
    Topcuoglu, Hariri, Wu: Performance-effective and low-complexity task scheduling for
    heterogeneous computing, IEEE TPDS 13(3), 2002: the upward rank of HEFT, without communication.
    """
    ranks = [0.0] * len(compiled.steps)
    for step in reversed(compiled.steps):
        ranks[step.no] = seconds.get(step.path, 1.0) + max((ranks[child] for child in step.children), default=0.0)
    return tuple(ranks)


def _way(cycle: Sequence[Draft]) -> str:
    """A cycle as a path; of a long one both ends."""
    paths = [draft.path for draft in cycle]
    if len(paths) > 2 * _SHOWN:
        paths[_SHOWN:-_SHOWN] = [f"… {len(paths) - 2 * _SHOWN:,} more …"]
    return " -> ".join(paths)


def _frozen(step: Step, registry: Registry) -> Step:
    if isinstance(step.plan, Plan):
        return step.model_copy(update={"plan": freeze_task_defaults(step.plan, registry)})
    if step.expand is not None:
        tasks = [name for name in step.expand.tasks if name in registry]
        known = {name: facts_data(facts_of_type(registry.get(name))) for name in tasks}
        return step.model_copy(update={"expand": step.expand.model_copy(update={"task_types": known})})
    if step.task is None or step.task not in registry:
        return step
    task_type = registry.get(step.task)
    facts: dict[str, Any] = {
        "effects": step.effects or task_type.effects,
        "queue": step.queue or task_type.queue,
        "timeout": step.timeout if step.timeout is not None else task_type.timeout_s,
        "prefetch": frozen_prefetch(step.prefetch, arguments_ahead(task_type)),
    }
    return step.model_copy(update=facts)


def _task_types(drafts: Sequence[Draft], registry: Registry, problems: Problems) -> dict[str, TaskType]:
    """The task types that are used, with each step's task and argument names checked."""
    found: dict[str, TaskType] = {}
    for draft in drafts:
        if draft.child is ChildKind.EXPAND:
            _check_allowed(draft, registry, problems)
        if draft.task in (ENTER_TASK, LEAVE_TASK) or draft.child is not None:
            continue
        if draft.task not in found:
            try:
                found[draft.task] = registry.get(draft.task)
            except NotFound as error:
                problems.add(str(error), (*draft.where, "task"))
                continue
        _check_arguments(draft, found[draft.task], problems)
        if draft.step.batch is not None and found[draft.task].many is None:
            problems.add(f"{draft.task} has nothing that does many at once", (*draft.where, "batch"), of_key=True)
    return found


def _check_allowed(draft: Draft, registry: Registry, problems: Problems) -> None:
    assert draft.step.expand is not None
    for number, task in enumerate(draft.step.expand.tasks):
        try:
            registry.get(task)
        except NotFound as error:
            problems.add(str(error), (*draft.where, "expand", "tasks", number))


def _check_arguments(draft: Draft, task_type: TaskType, problems: Problems) -> None:
    binding = binding_of(task_type)
    if not binding.any_name:
        for name in draft.with_.keys() - binding.parameters.keys():
            what, where = f"{draft.task} has no argument", (*draft.where, "with", name)
            problems.add_unknown(what, name, binding.parameters, where, of_key=True)
    for name in sorted(binding.required - draft.with_.keys()):
        problems.add(f"{draft.task} needs the argument {name!r}", (*draft.where, "with"), of_key=True)


def _numbered(
    drafts: Sequence[Draft],
    order: Sequence[int],
    task_types: Mapping[str, TaskType],
    plan: Plan,
    below: Mapping[int, CompiledPlan | None],
) -> tuple[CompiledStep, ...]:
    number = [0] * len(drafts)
    for no, position in enumerate(order):
        number[position] = no
    children: list[list[int]] = [[] for _ in drafts]
    for no, position in enumerate(order):
        for parent in drafts[position].parents:
            children[number[parent]].append(no)
    return tuple(
        _step(no, drafts[position], number, tuple(children[no]), task_types, plan, below.get(position))
        for no, position in enumerate(order)
    )


def _step(
    no: int,
    draft: Draft,
    number: Sequence[int],
    children: tuple[int, ...],
    task_types: Mapping[str, TaskType],
    plan: Plan,
    below: CompiledPlan | None,
) -> CompiledStep:
    step, task_type = draft.step, task_types.get(draft.task)
    effects, queue, timeout_s = step.effects, step.queue, step.timeout
    if task_type is not None:
        effects, queue = effects or task_type.effects, queue or task_type.queue
        timeout_s = timeout_s if timeout_s is not None else task_type.timeout_s
    return CompiledStep(
        no=no,
        path=draft.path,
        task=draft.task,
        with_=draft.with_ if draft.declared is None else {"values": draft.with_, "declared": draft.declared},
        names={name: number[position] for name, position in draft.names.items()},
        reads=tuple(sorted(number[position] for position in draft.reads)),
        reads_inputs=draft.reads_inputs,
        inputs_step=None if draft.scope.enter is None else number[draft.scope.enter],
        parents=tuple(sorted(number[position] for position in draft.parents)),
        children=children,
        condition_parents=tuple(sorted(number[position] for position in draft.asked)),
        guess=None if draft.guess is None else number[draft.guess],
        join=draft.join,
        when=draft.when,
        when_per_item=draft.when_per_item,
        for_each=step.for_each,
        max_items=step.max_items,
        max_parallel=step.max_parallel,
        max_failures=step.max_failures,
        retry=step.retry.policy(),
        timeout_s=timeout_s,
        on_failure=OnFailure.FALL_BACK if draft.fallback is not None else _ON_FAILURE[str(step.on_failure)],
        fallback=None if draft.fallback is None else number[draft.fallback],
        fallback_of=None if draft.fallback_of is None else number[draft.fallback_of],
        queue=queue or "io",
        phase=step.phase,
        skill=step.skill or draft.task,
        effects=(effects or Effects.EXTERNAL).value,
        pools=tuple(own_pool(plan.name, pool) if pool in plan.pools else pool for pool in step.pools),
        enough=step.enough,
        voting=None if step.vote is None else Voting(step.vote.ballot, step.vote.confidence, step.vote.min),
        child=None if draft.child is None else _child_runs(draft, number[draft.names["inputs"]], below),
        prefetch=prefetch_of(draft, number, task_type),
        batch_items=step.batch.max_items if step.batch is not None else 1,
        batch_wait_s=step.batch.max_wait if step.batch is not None else 0.0,
        care=care_of(step, draft.scope.plan, plan),
    )


def _child_runs(draft: Draft, given: int, plan: CompiledPlan | None) -> ChildRuns:
    step, made = draft.step, draft.step.expand
    assert draft.child is not None
    return ChildRuns(
        kind=draft.child,
        given=given,
        plan=plan,
        source=plan_data(step.plan) if isinstance(step.plan, Plan) else None,
        until=step.loop.until if step.loop else None,
        enough=_gains(step.loop.enough) if step.loop and step.loop.enough else None,
        rounds_max=step.loop.max_rounds if step.loop else 1,
        time_max_s=step.loop.max_time if step.loop else None,
        tasks={name: facts_of(facts) for name, facts in made.task_types.items() if isinstance(facts, Mapping)}
        if made
        else {},
        steps_max=made.max_steps if made else 0,
        items_max=made.max_items if made else 0,
    )


def _gains(enough: Gains) -> Enough:
    return Enough(enough.score, enough.rounds, enough.gain)


def _renumbered(names: Mapping[str, int], order: Sequence[int]) -> dict[str, int]:
    number = {position: no for no, position in enumerate(order)}
    return {name: number[position] for name, position in names.items()}
