"""Counts for people who watch: a run's nodes by where they are, and each queue's backlog.

Finished steps are read from their own counters; only nodes of running steps are counted, by ranges of
the primary key, so that a live view can ask four times a second. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, Subquery, and_, case, func, literal_column, select, text, true

from engine.scheduling.records import NodeState, StepState
from engine.store.engines import Database
from engine.store.reading import find_run_id, run_view
from engine.store.tables import NOT_FINAL
from engine.store.views import QueueBacklog, RunProgress, StepProgress
from engine.store.writing import ATTEMPT, NODE, RUN, STEP


def progress(database: Database, run: str) -> RunProgress:
    """A run and where the nodes of each of its steps are. Raises ``NotFound``."""
    with database.reading(f"read progress of run {run}") as connection:
        run_id = find_run_id(connection, run)
        rows = connection.execute(_step_counts(STEP.c.run_id == run_id).order_by(STEP.c.step_no)).all()
        return RunProgress(run_view(connection, run_id), [_step_progress(row) for row in rows])


def queue_backlog(database: Database) -> list[QueueBacklog]:
    """What waits for each queue, over all unfinished runs, busiest first."""
    unfinished = select(RUN.c.id).where(text(NOT_FINAL))
    counts = _step_counts(STEP.c.run_id.in_(unfinished), STEP.c.state == StepState.RUNNING.value)
    with database.reading("read the queues' backlog") as connection:
        rows = connection.execute(counts).all()
    totals: dict[str, list[int]] = {}
    for row in rows:
        done = row.node_succeeded + row.node_failed + row.node_skipped + row.node_cancelled
        ready = max(0, (row.expected or 0) - done - row.out - row.retrying)
        total = totals.setdefault(row.queue, [0, 0, 0])
        for position, more in enumerate((ready, row.out, row.retrying)):
            total[position] += more
    return [QueueBacklog(queue, *total) for queue, total in sorted(totals.items(), key=lambda each: -sum(each[1]))]


def _step_counts(*of: ColumnElement[bool]) -> Select[Any]:
    """One row a step: the counters of its end, and the nodes counted now if it is running."""
    running = STEP.c.state == StepState.RUNNING.value
    nodes, tries = _node_counts(of), _attempt_counts(of)
    counted = [func.coalesce(nodes.c[name], 0).label(f"node_{name}") for name in (state.value for state in NodeState)]
    open_ = [func.coalesce(tries.c[name], 0).label(name) for name in ("out", "retrying")]
    columns = (
        STEP.c.step_no, STEP.c.path, STEP.c.queue, STEP.c.state, STEP.c.count.label("expected"),
        STEP.c.succeeded, STEP.c.failed, STEP.c.skipped,
    )  # fmt: skip
    joined = STEP.outerjoin(nodes, and_(running, *_same_step(nodes))).outerjoin(
        tries, and_(running, *_same_step(tries))
    )
    return select(*columns, *counted, *open_).select_from(joined).where(*of)


def _node_counts(of: Iterable[ColumnElement[bool]]) -> Subquery:
    sums = [func.sum(case((NODE.c.state == state.value, 1), else_=0)).label(state.value) for state in NodeState]
    return (
        select(NODE.c.run_id, NODE.c.step_no, *sums)
        .join(STEP, and_(NODE.c.run_id == STEP.c.run_id, NODE.c.step_no == STEP.c.step_no))
        .where(*of, STEP.c.state == StepState.RUNNING.value)
        .group_by(NODE.c.run_id, NODE.c.step_no)
        .subquery("nodes")
    )


def _attempt_counts(of: Iterable[ColumnElement[bool]]) -> Subquery:
    """Nodes that are out, and nodes that wait for a retry: each counts once, by its latest attempt."""
    later = ATTEMPT.alias("later")
    out = ATTEMPT.c.outcome.is_(None)
    retrying = and_(ATTEMPT.c.retry_at.is_not(None), ~_exists(later, true_if=later.c.attempt > ATTEMPT.c.attempt))
    return (
        select(
            ATTEMPT.c.run_id,
            ATTEMPT.c.step_no,
            func.sum(case((out, 1), else_=0)).label("out"),
            func.sum(case((out, 0), else_=1)).label("retrying"),
        )
        .join(STEP, and_(ATTEMPT.c.run_id == STEP.c.run_id, ATTEMPT.c.step_no == STEP.c.step_no))
        .where(*of, STEP.c.state == StepState.RUNNING.value, out | retrying, ~_exists(NODE, true_if=true()))
        .group_by(ATTEMPT.c.run_id, ATTEMPT.c.step_no)
        .subquery("tries")
    )


def _exists(other: Any, true_if: ColumnElement[bool]) -> ColumnElement[bool]:
    same = (other.c.run_id == ATTEMPT.c.run_id, other.c.step_no == ATTEMPT.c.step_no, other.c.item == ATTEMPT.c.item)
    return select(literal_column("1")).where(*same, true_if).correlate(ATTEMPT).exists()


def _same_step(counts: Subquery) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return counts.c.run_id == STEP.c.run_id, counts.c.step_no == STEP.c.step_no


def _step_progress(row: Row[Any]) -> StepProgress:
    state = StepState(row.state)
    if state is StepState.RUNNING:
        counted = (row.node_succeeded, row.node_failed, row.node_skipped, row.node_cancelled)
    else:
        ended = (row.succeeded, row.failed, row.skipped)
        rest = (row.expected or 0) - sum(ended) if state.final else 0
        counted = (*ended, max(0, rest))
    succeeded, failed, skipped, cancelled = (int(number) for number in counted)
    return StepProgress(
        step_no=row.step_no, path=row.path, state=state, count=row.expected, succeeded=succeeded, failed=failed,
        skipped=skipped, cancelled=cancelled, out=int(row.out), retrying=int(row.retrying),
    )  # fmt: skip
