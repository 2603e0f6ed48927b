"""What each step cost in the latest runs of a plan, from which the next run's cost is foreseen. Nothing here writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Integer, func, literal, select, text

from engine.scheduling.records import RunState
from engine.store.columns import IS_TOP, LEDGER, RUN, STEP
from engine.store.engines import Database

RUNS = 20
_ENDED = (RunState.SUCCEEDED.value, RunState.FAILED.value)
_OWN = -1


@dataclass(frozen=True, slots=True)
class StepCost:
    """What the nodes of a step cost together, those of runs below them included; ``nodes`` were tried."""

    task: str
    nodes: int
    cost_nusd: int


@dataclass(frozen=True, slots=True)
class EarlierRun:
    """One run that ended. ``entries`` says whether the ledger has anything of it."""

    run_id: str
    steps: Mapping[str, StepCost]
    entries: bool


def earlier_runs(database: Database, plan: str, limit: int = RUNS) -> list[EarlierRun]:
    """The latest runs of the plan that ended, newest first; cancelled ones and those below others are left out."""
    latest = select(RUN.c.id).where(RUN.c.plan_name == plan, text(IS_TOP), RUN.c.state.in_(_ENDED))
    with database.reading(f"read what runs of {plan} cost") as connection:
        run_ids = list(connection.scalars(latest.order_by(RUN.c.id.desc()).limit(limit)))
        own = literal(_OWN, Integer).label("step_no")
        tree = select(RUN.c.id, RUN.c.id.label("top"), own).where(RUN.c.id.in_(run_ids)).cte("tree", recursive=True)
        # Whatever is below a node of the run is that node's step's.
        under = func.coalesce(func.nullif(tree.c.step_no, _OWN), RUN.c.parent_step_no)
        tree = tree.union_all(select(RUN.c.id, tree.c.top, under).join(tree, RUN.c.parent_run == tree.c.id))
        step_no = func.coalesce(func.nullif(tree.c.step_no, _OWN), LEDGER.c.step_no).label("no")
        summed = (
            select(tree.c.top, step_no, func.sum(LEDGER.c.cost_nusd))
            .select_from(LEDGER)
            .join(tree, tree.c.id == LEDGER.c.run_id)
            .group_by(tree.c.top, step_no)
        )
        costs = {(top, no): int(cost) for top, no, cost in connection.execute(summed)}
        columns = (STEP.c.run_id, STEP.c.step_no, STEP.c.path, STEP.c.task, STEP.c.succeeded + STEP.c.failed)
        steps: dict[str, dict[str, StepCost]] = {run_id: {} for run_id in run_ids}
        for run_id, no, path, task, nodes in connection.execute(select(*columns).where(STEP.c.run_id.in_(run_ids))):
            steps[run_id][path] = StepCost(task, int(nodes), costs.get((run_id, no), 0))
    told = {top for top, _ in costs}
    return [EarlierRun(run_id, steps[run_id], run_id in told) for run_id in run_ids]
