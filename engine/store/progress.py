"""Counts for people who watch: a run's nodes by where they are, and each queue's backlog.

Finished steps are read from their own counters; only nodes of running steps are counted, each step by
one range of the primary key, so that a live view can ask four times a second. Nothing here writes.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, select, text

from engine.scheduling.records import NodeState, StepState
from engine.store.columns import ATTEMPT, NODE, NOT_FINAL, RUN, STEP
from engine.store.engines import Database
from engine.store.reading import find_run_id, run_view
from engine.store.views import QueueBacklog, RunProgress, StepProgress

ENDED, OUT, RUNNING, RETRYING = range(4)
"""Where an open node is, by its latest attempt."""

_CHILD_RUNS = "plan.run"  # a name of the core's own, whose module loads more than a reader needs

Counts = dict[tuple[str, int], Counter[Any]]


def latest_attempt() -> ColumnElement[int]:
    """Where the latest of a group of attempts is, as an aggregate.

    The number of the attempt in front makes the latest one the greatest: one pass in the order of the
    key, where a join of the table with itself would depend on the planner's mood.
    """
    place = case(
        (and_(ATTEMPT.c.outcome.is_(None), ATTEMPT.c.begun_at.is_(None)), OUT),
        (ATTEMPT.c.outcome.is_(None), RUNNING),
        (ATTEMPT.c.retry_at.is_not(None), RETRYING),
        else_=ENDED,
    )
    return func.max(ATTEMPT.c.attempt * 4 + place) % 4


def progress(database: Database, run: str) -> RunProgress:
    """A run and where the nodes of each of its steps are. Raises ``NotFound``."""
    with database.reading(f"read progress of run {run}") as connection:
        run_id = find_run_id(connection, run)
        rows = connection.execute(select(STEP).where(STEP.c.run_id == run_id).order_by(STEP.c.step_no)).all()
        finals = _count_finals(connection, STEP.c.run_id == run_id)
        places = _count_places(connection, STEP.c.run_id == run_id)
        view = run_view(connection, run_id)
    steps = [_step_progress(row, finals.get(_key(row), Counter()), places.get(_key(row), Counter())) for row in rows]
    return RunProgress(view, steps)


def nodes_out(database: Database, run: str) -> int:
    """How many nodes of a run, and of all runs below it, are with workers or wait in a queue. Raises ``NotFound``.

    A node that is a run of its own is with nobody: its run's nodes count instead.
    """
    with database.reading(f"count what of run {run} is out") as connection:
        run_id = find_run_id(connection, run)
        tree = select(RUN.c.id).where(RUN.c.id == run_id).cte("tree", recursive=True)
        tree = tree.union_all(select(RUN.c.id).join(tree, RUN.c.parent_run == tree.c.id))
        living = select(RUN.c.id).join(tree, RUN.c.id == tree.c.id).where(text(NOT_FINAL))
        places = _count_places(connection, and_(STEP.c.run_id.in_(living), STEP.c.task != _CHILD_RUNS))
    return sum(counts[OUT] + counts[RUNNING] for counts in places.values())


def queue_backlog(database: Database) -> list[QueueBacklog]:
    """What waits for each queue, over all unfinished runs, busiest first."""
    unfinished = STEP.c.run_id.in_(select(RUN.c.id).where(text(NOT_FINAL)))
    running = select(STEP).where(unfinished, STEP.c.state == StepState.RUNNING.value)
    with database.reading("read the queues' backlog") as connection:
        rows = connection.execute(running).all()
        finals, places = _count_finals(connection, unfinished), _count_places(connection, unfinished)
    totals: dict[str, Counter[str]] = {}
    for row in rows:
        step = _step_progress(row, finals.get(_key(row), Counter()), places.get(_key(row), Counter()))
        ready = max(0, (step.count or 0) - step.done - step.out - step.retrying)
        totals.setdefault(row.queue, Counter()).update(ready=ready, out=step.out, retrying=step.retrying)
    backlogs = [QueueBacklog(queue, each["ready"], each["out"], each["retrying"]) for queue, each in totals.items()]
    return sorted(backlogs, key=lambda each: (-each.ready - each.out - each.retrying, each.queue))


def _count_finals(connection: Connection, of: ColumnElement[bool]) -> Counts:
    counted = (
        select(NODE.c.run_id, NODE.c.step_no, NODE.c.state, func.count())
        .join(STEP, and_(NODE.c.run_id == STEP.c.run_id, NODE.c.step_no == STEP.c.step_no))
        .where(of, STEP.c.state == StepState.RUNNING.value)
        .group_by(NODE.c.run_id, NODE.c.step_no, NODE.c.state)
    )
    counts: Counts = {}
    for run_id, step_no, state, number in connection.execute(counted):
        counts.setdefault((run_id, step_no), Counter())[state] = number
    return counts


def _count_places(connection: Connection, of: ColumnElement[bool]) -> Counts:
    by_node = (ATTEMPT.c.run_id, ATTEMPT.c.step_no, ATTEMPT.c.item)
    nodes = (
        select(ATTEMPT.c.run_id, ATTEMPT.c.step_no, latest_attempt().label("place"))
        .join(STEP, and_(ATTEMPT.c.run_id == STEP.c.run_id, ATTEMPT.c.step_no == STEP.c.step_no))
        .where(of, STEP.c.state == StepState.RUNNING.value)
        .group_by(*by_node)
        .subquery()
    )
    grouped = (nodes.c.run_id, nodes.c.step_no, nodes.c.place)
    counts: Counts = {}
    for run_id, step_no, place, number in connection.execute(select(*grouped, func.count()).group_by(*grouped)):
        counts.setdefault((run_id, step_no), Counter())[place] = number
    return counts


def _key(row: Row[Any]) -> tuple[str, int]:
    return row.run_id, row.step_no


def _step_progress(row: Row[Any], finals: Counter[Any], places: Counter[Any]) -> StepProgress:
    state, count = StepState(row.state), row._mapping["count"]
    counted = tuple(finals[each.value] for each in NodeState)
    if state is not StepState.RUNNING:
        ended = (row.succeeded, row.failed, row.skipped)
        counted = (*ended, max(0, (count or 0) - sum(ended)) if state.final else 0)
    succeeded, failed, skipped, cancelled = counted
    return StepProgress(
        step_no=row.step_no, path=row.path, state=state, count=count, succeeded=succeeded, failed=failed,
        skipped=skipped, cancelled=cancelled, out=places[OUT] + places[RUNNING], running=places[RUNNING],
        retrying=places[RETRYING],
    )  # fmt: skip
