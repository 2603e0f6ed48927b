"""Inside one run, as people read it: steps, nodes, attempts, log lines, decisions, results.

Pages go by the number a row is sorted by (``after``), so that a step of 100,000 nodes is read in
pieces. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import orjson
from sqlalchemy import Connection, Row, Select, select

from engine.errors import NotFound
from engine.scheduling.records import NodeState, StepState
from engine.store.columns import ATTEMPT, DECISION, LOG_LINE, NODE, STEP
from engine.store.engines import Database
from engine.store.progress import ENDED, OUT, RETRYING, RUNNING, latest_attempt
from engine.store.reading import find_run_id
from engine.store.views import AttemptView, DecisionView, LogView, NodeResult, NodeView, StepView
from engine.wire import ErrorInfo, Outcome

_FINAL = frozenset(state.value for state in NodeState)
_OPEN = {ENDED: "ready", OUT: "out", RUNNING: "running", RETRYING: "retrying"}
_ITEMS_A_QUERY = 500


def steps(database: Database, run: str) -> list[StepView]:
    """A run's steps in topological order."""
    with database.reading(f"read steps of run {run}") as connection:
        return _steps(connection, find_run_id(connection, run))


def step_named(database: Database, run: str, path: str) -> StepView:
    """The step of that path. Raises ``NotFound``, listing the paths there are."""
    found = steps(database, run)
    for step in found:
        if step.path == path:
            return step
    raise NotFound(f"run {run} has no step {path!r}; it has {', '.join(step.path for step in found)}")


def nodes(
    database: Database, run: str, step_no: int, state: str | None = None, limit: int = 100, after: int = -1
) -> list[NodeView]:
    """A step's nodes with ``item > after``, in order, at most ``limit``; all, or those in ``state``."""
    with database.reading(f"read nodes of run {run} step {step_no}") as connection:
        run_id = find_run_id(connection, run)
        step = _step(connection, run_id, step_no)
        items = _items_in(connection, run_id, step, state, after, limit)
        finals = {row.item: row for row in _paged(connection, select(NODE), NODE.c.item, (run_id, step_no), items)}
        latest: dict[int, Row[Any]] = {}
        for row in _paged(connection, select(ATTEMPT), ATTEMPT.c.item, (run_id, step_no), items):
            if row.item not in latest or row.attempt > latest[row.item].attempt:
                latest[row.item] = row
    return [_node(step, item, finals.get(item), latest.get(item)) for item in items]


def attempts(database: Database, run: str, step_no: int, item: int = 0) -> list[AttemptView]:
    """Every attempt at a node, in order."""
    with database.reading(f"read attempts of run {run} node {step_no}:{item}") as connection:
        node = (ATTEMPT.c.run_id == find_run_id(connection, run), ATTEMPT.c.step_no == step_no, ATTEMPT.c.item == item)
        rows = connection.execute(select(ATTEMPT).where(*node).order_by(ATTEMPT.c.attempt)).all()
    return [_attempt(row) for row in rows]


def logs(
    database: Database, run: str, step_no: int | None = None, item: int | None = None, after: int = 0, limit: int = 1000
) -> list[LogView]:
    """Logged lines with ``number > after``, oldest first: a run's, a step's, or a node's."""
    columns = (LOG_LINE.c[field.name] for field in fields(LogView))
    with database.reading(f"read logs of run {run}") as connection:
        chosen = select(*columns).where(LOG_LINE.c.run_id == find_run_id(connection, run), LOG_LINE.c.number > after)
        if step_no is not None:
            chosen = chosen.where(LOG_LINE.c.step_no == step_no)
        if item is not None:
            chosen = chosen.where(LOG_LINE.c.item == item)
        rows = connection.execute(chosen.order_by(LOG_LINE.c.number).limit(limit)).all()
    return [LogView(*row) for row in rows]


def decisions(database: Database, run: str, step_no: int | None = None) -> list[DecisionView]:
    """The choices the engine made for a run, oldest first."""
    columns = (DECISION.c[field.name] for field in fields(DecisionView))
    with database.reading(f"read decisions of run {run}") as connection:
        chosen = select(*columns).where(DECISION.c.run_id == find_run_id(connection, run))
        if step_no is not None:
            chosen = chosen.where(DECISION.c.step_no == step_no)
        rows = connection.execute(chosen.order_by(DECISION.c.number)).all()
    return [DecisionView(**dict(row._mapping) | {"figures": orjson.loads(row.figures)}) for row in rows]


def result(database: Database, run: str, step_no: int, item: int = 0) -> NodeResult:
    """A finished node's state and value, still packed. Raises ``NotFound`` while it has none."""
    with database.reading(f"read result of run {run} node {step_no}:{item}") as connection:
        run_id = find_run_id(connection, run)
        node = (NODE.c.run_id == run_id, NODE.c.step_no == step_no, NODE.c.item == item)
        row = connection.execute(select(NODE.c.state, NODE.c.result).where(*node)).one_or_none()
    if row is None:
        raise NotFound(f"node {step_no}:{item} of run {run_id} has not ended")
    return NodeResult(NodeState(row.state), None if row.result is None else orjson.loads(row.result))


def results(database: Database, run_id: str, step_no: int, low: int, high: int) -> dict[int, NodeResult]:
    """The finished nodes among items ``low`` to ``high`` (excluded) of a step, by item."""
    node = (NODE.c.run_id == run_id, NODE.c.step_no == step_no, NODE.c.item >= low, NODE.c.item < high)
    with database.reading(f"read results of run {run_id} step {step_no}") as connection:
        rows = connection.execute(select(NODE.c.item, NODE.c.state, NODE.c.result, NODE.c.reason).where(*node)).all()
    return {
        row.item: NodeResult(NodeState(row.state), None if row.result is None else orjson.loads(row.result), row.reason)
        for row in rows
    }


def _steps(connection: Connection, run_id: str, step_no: int | None = None) -> list[StepView]:
    columns = (STEP.c[field.name] for field in fields(StepView))
    chosen = select(*columns).where(STEP.c.run_id == run_id).order_by(STEP.c.step_no)
    if step_no is not None:
        chosen = chosen.where(STEP.c.step_no == step_no)
    return [_step_view(row) for row in connection.execute(chosen)]


def _step(connection: Connection, run_id: str, step_no: int) -> StepView:
    found = _steps(connection, run_id, step_no)
    if not found:
        raise NotFound(f"run {run_id} has no step {step_no}")
    return found[0]


def _items_in(
    connection: Connection, run_id: str, step: StepView, state: str | None, after: int, limit: int
) -> list[int]:
    """Items of the step's nodes in ``state``, found with the least reading that the state allows."""
    count = step.count or 0
    if state is None:
        return list(range(after + 1, min(count, after + 1 + limit)))
    of_step = (NODE.c.run_id == run_id, NODE.c.step_no == step.step_no, NODE.c.item > after)
    if state in _FINAL and not (step.state.final and step.state.value == state):
        found = connection.scalars(
            select(NODE.c.item).where(*of_step, NODE.c.state == state).order_by(NODE.c.item).limit(limit)
        )
        return list(found)
    if state not in _FINAL and step.state.final:
        return []
    # What is left is told by rows that are not there, or by a node's latest attempt.
    states = dict.fromkeys(range(after + 1, count), step.state.value if step.state.final else "ready")
    of_attempt = (ATTEMPT.c.run_id == run_id, ATTEMPT.c.step_no == step.step_no, ATTEMPT.c.item > after)
    if not step.state.final:
        latest = select(ATTEMPT.c.item, latest_attempt()).where(*of_attempt).group_by(ATTEMPT.c.item)
        states |= {item: _OPEN[place] for item, place in connection.execute(latest)}
    for item, final in connection.execute(select(NODE.c.item, NODE.c.state).where(*of_step)):
        states[item] = final
    return [item for item, is_in in states.items() if is_in == state][:limit]


def _paged(
    connection: Connection, chosen: Select[Any], column: Any, step: tuple[str, int], items: list[int]
) -> Iterable[Row[Any]]:
    rows = column.table.c
    for start in range(0, len(items), _ITEMS_A_QUERY):
        page = items[start : start + _ITEMS_A_QUERY]
        yield from connection.execute(chosen.where(rows.run_id == step[0], rows.step_no == step[1], column.in_(page)))


def _open_state(attempt: Row[Any]) -> str:
    if attempt.outcome is None:
        return _OPEN[OUT if attempt.begun_at is None else RUNNING]
    return _OPEN[ENDED if attempt.retry_at is None else RETRYING]


def _node(step: StepView, item: int, final: Row[Any] | None, attempt: Row[Any] | None) -> NodeView:
    if final is not None:
        state = final.state
    elif step.state.final:
        state = step.state.value
    else:
        state = "ready" if attempt is None else _open_state(attempt)
    return NodeView(
        step_no=step.step_no, item=item, path=step.path, fanned=step.fanned, state=state,
        reason=final.reason if final is not None else "",
        attempt=attempt.attempt if attempt is not None else None,
        outcome=_outcome(attempt), worker=(attempt.worker or "") if attempt is not None else "",
        dispatched_at=attempt.dispatched_at if attempt is not None else None,
        begun_at=attempt.begun_at if attempt is not None else None,
        finished_at=final.finished_at if final is not None else None,
        retry_at=attempt.retry_at if attempt is not None and final is None else None,
        progress=attempt.progress if attempt is not None else None,
        error=_error(attempt),
    )  # fmt: skip


def _attempt(row: Row[Any]) -> AttemptView:
    return AttemptView(
        step_no=row.step_no, item=row.item, attempt=row.attempt, kind=row.kind or "retry", queue=row.queue or "",
        outcome=_outcome(row), worker=row.worker or "", dispatched_at=row.dispatched_at, begun_at=row.begun_at,
        ended_at=row.ended_at, retry_at=row.retry_at, repeated=bool(row.repeated), progress=row.progress,
        error=_error(row),
    )  # fmt: skip


def _outcome(row: Row[Any] | None) -> Outcome | None:
    return Outcome(row.outcome) if row is not None and row.outcome else None


def _error(row: Row[Any] | None) -> ErrorInfo | None:
    return ErrorInfo.from_json(orjson.loads(row.error)) if row is not None and row.error else None


def _step_view(row: Row[Any]) -> StepView:
    values = dict(row._mapping)
    values["state"], values["parents"] = StepState(row.state), tuple(orjson.loads(row.parents))
    values["fanned"], values["tolerated"] = bool(row.fanned), bool(row.tolerated)
    return StepView(**values)
