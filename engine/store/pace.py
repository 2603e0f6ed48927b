"""What a watcher asks now and then: how fast a run's nodes end, and what the runs below it have come to.

Both read as many rows as there are nodes or runs, which ``progress`` avoids. Nothing here writes.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, or_, select

from engine.scheduling.records import NodeState, RunState, StepState
from engine.store.columns import NODE, RUN, STEP
from engine.store.engines import Database
from engine.store.reading import find_run_id
from engine.store.views import Below, Pace

WINDOWS_S = (60.0, 300.0, 1800.0)

_RUNNING = STEP.c.state == StepState.RUNNING.value
_OF_ITS_STEP = and_(NODE.c.run_id == STEP.c.run_id, NODE.c.step_no == STEP.c.step_no)


def paces(database: Database, run: str, now: float) -> dict[int, Pace]:
    """The pace of each running step of a run, by step number, at ``now`` in epoch seconds.

    A node that was taken over has no attempt, and was not worked on; one that was skipped has neither,
    yet ended in its turn. Raises ``NotFound``.
    """
    within = [func.sum(case((NODE.c.finished_at > now - window_s, 1), else_=0)) for window_s in WINDOWS_S]
    worked = or_(NODE.c.attempt.is_not(None), NODE.c.state == NodeState.SKIPPED.value)
    counted = (
        select(NODE.c.step_no, func.max(NODE.c.finished_at), *within)
        .join(STEP, _OF_ITS_STEP)
        .where(worked, NODE.c.finished_at > now - WINDOWS_S[-1], _RUNNING)
        .group_by(NODE.c.step_no)
    )
    with database.reading(f"read the pace of run {run}") as connection:
        run_id = find_run_id(connection, run)
        begun = select(STEP.c.step_no, STEP.c.expanded_at).where(STEP.c.run_id == run_id, _RUNNING)
        since = {no: at for no, at in connection.execute(begun) if at is not None}
        ended = {no: rest for no, *rest in connection.execute(counted.where(STEP.c.run_id == run_id))}
    nothing = [None, *(0 for _ in WINDOWS_S)]
    found = {no: (at, ended.get(no, nothing)) for no, at in since.items()}
    return {
        no: Pace(at, tuple(zip(WINDOWS_S, counts[1:], strict=True)), counts[0]) for no, (at, counts) in found.items()
    }


def below(database: Database, run: str) -> dict[int, Below]:
    """The runs below a run, at any depth, by the step of ``run`` they stand under. Raises ``NotFound``.

    Steps that have ended are read from their own counters, nodes are counted for those that run.
    """
    with database.reading(f"read the runs below run {run}") as connection:
        run_id = find_run_id(connection, run)
        first = select(RUN.c.id, RUN.c.state, RUN.c.parent_step_no.label("top")).where(RUN.c.parent_run == run_id)
        tree = first.cte("tree", recursive=True)
        tree = tree.union_all(select(RUN.c.id, RUN.c.state, tree.c.top).join(tree, RUN.c.parent_run == tree.c.id))
        ended = tree.c.state.in_([state.value for state in RunState if state.final])
        runs = connection.execute(select(tree.c.top, func.count(), _sum_if(ended)).group_by(tree.c.top)).all()
        if not runs:
            return {}
        sums = [func.sum(column) for column in (STEP.c.count, STEP.c.succeeded, STEP.c.failed, STEP.c.skipped)]
        of_tree = STEP.c.run_id == tree.c.id
        grouped = (tree.c.top, STEP.c.state)
        steps = connection.execute(select(*grouped, *sums).join(tree, of_tree).group_by(*grouped)).all()
        open_nodes = (
            select(tree.c.top, NODE.c.state, func.count())
            .join(STEP, _OF_ITS_STEP)
            .join(tree, of_tree)
            .where(_RUNNING, ~ended)
            .group_by(tree.c.top, NODE.c.state)
        )
        nodes = connection.execute(open_nodes).all()
    return _joined(runs, steps, nodes)


def _joined(runs: Any, steps: Any, nodes: Any) -> dict[int, Below]:
    counts: dict[int, Counter[str]] = {top: Counter(runs=many, runs_ended=ended) for top, many, ended in runs}
    for top, state, count, succeeded, failed, skipped in steps:
        known = {"succeeded": succeeded, "failed": failed, "skipped": skipped}
        counts[top].update(nodes=int(count or 0))
        if StepState(state).final:
            rest = max(0, int(count or 0) - sum(map(int, known.values())))
            counts[top].update({name: int(each) for name, each in known.items()}, cancelled=rest)
    for top, state, number in nodes:
        counts[top][state] += number
    return {top: Below(**each) for top, each in counts.items()}


def _sum_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))
