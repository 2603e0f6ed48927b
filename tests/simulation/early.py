"""Plans in which something ends before its time, and what must hold of that.

Expressions ask for states only, which the journal knows, and never take back that they hold.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.dag.compiled import CompiledPlan, CompiledStep, Ending, Join, JoinKind, Voting
from engine.plan.expressions import evaluate
from engine.scheduling.news import news_of
from engine.scheduling.records import NodeState, RunState, StepState
from tests.simulation.driver import Violation

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

GOAL, GIVEN_UP = "goal reached: ", "given up: "


def ending_early(chance: random.Random, plan: CompiledPlan) -> CompiledPlan:
    """``plan`` with joins that prune, samples that are enough, a goal, a way to be given up."""
    steps = [_early(chance, step, plan) for step in plan.steps]
    if chance.random() < 0.5:
        steps = _with_a_race(chance, steps)
    seen = [step for step in steps if step.fallback_of is None]
    # Only what is handed back is an output: in the plans as they are drawn, every step is.
    told = {step.path: step.no for step in seen if f"o{step.no}" in (plan.outputs or {})}
    ending = None
    if chance.random() < 0.6:
        goal = chance.choice(seen)
        named = {goal.path: goal.no}
        doomed = chance.choice(seen)
        ending = Ending(
            goal=f"steps.{goal.path}.state == 'succeeded'" if chance.random() < 0.7 else None,
            impossible=f"steps.{doomed.path}.state == 'failed'" if chance.random() < 0.3 else None,
            same_error=chance.choice((None, None, 2, 4)), when_out_of_reach=chance.random() < 0.5,
            goal_names=named, impossible_names={doomed.path: doomed.no},
        )  # fmt: skip
    return replace(plan, steps=tuple(steps), names=told, ending=ending)


def with_the_same_below(plan: CompiledPlan, plans: Mapping[str, CompiledPlan]) -> CompiledPlan:
    """``plan`` whose steps run the plans that ``plans`` has of their version."""
    steps = [
        replace(step, child=replace(step.child, plan=with_the_same_below(plans[step.child.plan.version], plans)))
        if step.child is not None and step.child.plan is not None
        else step
        for step in plan.steps
    ]
    return replace(plan, steps=tuple(steps))


def is_early(plan: CompiledPlan) -> bool:
    """Whether something in a run of the plan may end before its time."""
    return news_of(plan) is not None


def holds(sim: Simulation, run_id: str, expression: str, names: Mapping[str, int]) -> bool:
    """Whether an expression holds of the states that are committed."""
    states = {name: {"state": str(_state(sim, run_id, no))} for name, no in names.items()}
    return bool(evaluate(expression, {"steps": states}))


def body_began(sim: Simulation, key: tuple[str, int, int], at: float) -> None:
    """Nothing of a run begins once that has ended: what was not needed was stopped before."""
    run_id = key[0]
    ended_at = sim.journal.ended_at.get(run_id)
    if is_early(sim.plan_of(run_id)) and ended_at is not None and at > ended_at + 0.1 and not sim.faults.enabled:
        raise Violation(f"{key} begins at {at:.3f}, and its run ended at {ended_at:.3f}")


def check(sim: Simulation, run_id: str) -> None:
    """A run that is over: what ended early did so for the reason that it tells."""
    plan, row = sim.plan_of(run_id), sim.journal.runs[run_id]
    ending = plan.ending
    if row.reason.startswith(GOAL):
        sim.early["goal"] += 1
        if ending is None or ending.goal is None or not holds(sim, run_id, ending.goal, ending.goal_names):
            raise Violation(f"{run_id} is said to have reached its goal, which does not hold")
        if row.state is not RunState.SUCCEEDED and not plan.outputs:
            raise Violation(f"{run_id} reached its goal and is {row.state}: {row.reason}")
        stopped = any(told.reason.startswith(GOAL) for (run, _), told in sim.journal.finished.items() if run == run_id)
        if stopped and run_id not in sim.journal.permits_gone_at:
            raise Violation(f"invariant 4: {run_id} reached its goal and its permits are not gone")
    if row.reason.startswith(GIVEN_UP):
        sim.early["given_up"] += 1
        if row.state is not RunState.FAILED:
            raise Violation(f"{run_id} was given up and is {row.state}")
    for step in plan.steps:
        _check_step(sim, run_id, step)


def _check_step(sim: Simulation, run_id: str, step: CompiledStep) -> None:
    told = sim.journal.finished.get((run_id, step.no))
    if told is None:
        return
    if told.reason.startswith("enough: count >= "):
        sim.early["enough"] += 1
        least = int(told.reason.removeprefix("enough: count >= ").partition(",")[0])
        if told.succeeded < least:
            raise Violation(f"{run_id} {step.path} had enough with {told.succeeded} of {least}")
    elif told.reason.startswith("enough: "):
        sim.early["vote"] += 1
    if not told.reason.startswith("not needed: the join of "):
        return
    sim.early["pruned"] += 1
    path = told.reason.removeprefix("not needed: the join of ").removesuffix(" holds without it")
    (join,) = [each for each in sim.plan_of(run_id).steps if each.path == path]
    parents = [_state(sim, run_id, no) for no in join.parents if no != join.fallback_of]
    good = Counter(parents)[StepState.SUCCEEDED]
    least = {JoinKind.ANY: 1, JoinKind.AT_LEAST: join.join.count, JoinKind.UNTIL: 0}[join.join.kind]
    if good < least or not join.join.prune:
        raise Violation(f"{run_id} {step.path} was pruned for {path}, whose join does not hold")
    for child in step.children:
        if child != join.no and _state(sim, run_id, child) is StepState.FAILED and step.fallback is None:
            continue
    nodes = [node for (run, no, _), node in sim.journal.nodes.items() if run == run_id and no == step.no]
    if told.state is StepState.SKIPPED and any(node.state is not NodeState.SKIPPED for node in nodes):
        raise Violation(f"{run_id} {step.path} is skipped, and nodes of it are not")


def _state(sim: Simulation, run_id: str, no: int) -> StepState:
    row = sim.journal.steps.get((run_id, no))
    return StepState.WAITING if row is None else row.state


def _with_a_race(chance: random.Random, steps: list[CompiledStep]) -> list[CompiledStep]:
    """One step more, for which some of those race that nothing waited for."""
    free = [step.no for step in steps if not step.children and step.fallback_of is None]
    if len(free) < 2:
        return steps
    parents = tuple(sorted(chance.sample(free, chance.randint(2, min(4, len(free))))))
    no = len(steps)
    join = chance.choice((
        Join(JoinKind.ANY, prune=True), Join(JoinKind.AT_LEAST, count=len(parents) - 1, prune=True),
        Join(JoinKind.UNTIL, until=f"steps.s{parents[0]}.state == 'succeeded'", prune=True),
    ))  # fmt: skip
    steps = [replace(step, children=(*step.children, no)) if step.no in parents else step for step in steps]
    names = {f"s{parent}": parent for parent in parents}
    race = CompiledStep(no, f"s{no}", "t.plain", {}, names=names, parents=parents, join=join, effects="none")
    return [*steps, race]


def _early(chance: random.Random, step: CompiledStep, plan: CompiledPlan) -> CompiledStep:
    join = step.join
    if join.kind in (JoinKind.ANY, JoinKind.AT_LEAST) and step.parents and chance.random() < 0.7:
        join = replace(join, prune=True)
        others = [no for no in step.parents if no != step.fallback_of]
        if others and chance.random() < 0.3:
            parts = [f"steps.{plan.steps[no].path}.state == 'succeeded'" for no in others[:2]]
            until = chance.choice((" and ", " or ")).join(parts)
            join = Join(JoinKind.UNTIL, until=until, prune=chance.random() < 0.8)
    if not step.fanned or chance.random() < 0.5:
        return replace(step, join=join)
    if chance.random() < 0.5 or step.child is not None:
        return replace(step, join=join, enough=f"count >= {chance.randint(1, 4)}")
    return replace(step, join=join, voting=Voting("output.r % 2", chance.choice((0.5, 0.8)), chance.randint(1, 3)))
