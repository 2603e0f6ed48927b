"""A batch of records as rows: grouped by table, one bulk statement a table.

Order inside a batch is kept by folding: the last state of a run or a step wins, what several records
say of one attempt is put together, and a node's first final state stands. Every statement may be
repeated: none adds a row or changes one the second time. Opens no transaction; ``journal`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Table, bindparam, case, false, func, true, update
from sqlalchemy.sql.dml import Insert, Update

from engine.scheduling.records import (
    CEILING,
    AttemptEnded,
    Begun,
    BudgetChanged,
    CommandHandled,
    Decision,
    Dispatched,
    Duplicate,
    LogLines,
    NodeFinished,
    NodesSkipped,
    Noted,
    PermitsGone,
    Record,
    RunChanged,
    RunState,
    StepExpanded,
    StepFinished,
    StepState,
)
from engine.store import tables
from engine.store.arrivals import Numbers
from engine.store.bulk import insert_many, insert_rows
from engine.store.dialects import Door, change_each, dialect_of, storable
from engine.store.notes import KINDS, rows_of
from engine.store.tables import table
from engine.wire import ErrorInfo

Row = dict[str, Any]
Key = tuple[Any, ...]

RUN = table(tables.Run)
STEP = table(tables.Step)
NODE = table(tables.Node)
ATTEMPT = table(tables.Attempt)
DUPLICATE = table(tables.Duplicate)
DECISION = table(tables.Decision)
LOG_LINE = table(tables.LogLine)
COMMAND = table(tables.Command)


class Batch:
    """Records folded into rows, ready to be written."""

    def __init__(self, records: Iterable[Record], numbers: Numbers) -> None:
        self.runs: dict[str, Row] = {}
        self.permits: dict[str, Row] = {}
        self.budgets: dict[str, Row] = {}
        self.steps: dict[Key, Row] = {}
        self.attempts: dict[Key, Row] = {}
        self.nodes: list[Row] = []
        self.duplicates: list[Row] = []
        self.decisions: list[Row] = []
        self.log_lines: list[Row] = []
        self.commands: list[Row] = []
        self.notes: dict[str, dict[Key, Row]] = {}
        self._numbers = numbers
        for record in records:
            _FOLD[type(record)](self, record)

    def write(self, door: Door) -> None:
        """Write every row with the door's transaction, in bulk."""
        dialect = dialect_of(door)
        changed: dict[str, Mapping[Any, Row]] = {"runs": self.runs, "permits": self.permits, "steps": self.steps}
        changed["budgets"] = self.budgets
        for name, rows in changed.items():
            if rows:
                change_each(door, _UPDATES[name], list(rows.values()))
        if self.commands:
            change_each(door, _UPDATES["commands"], self.commands)
        for kind, noted in self.notes.items():
            insert_rows(door, _note_statement(kind, dialect), list(noted.values()))
        for name, added in (
            ("attempts", list(self.attempts.values())),
            ("nodes", self.nodes),
            ("duplicates", self.duplicates),
            ("decisions", self.decisions),
            ("log_lines", self.log_lines),
        ):
            if added:
                insert_rows(door, _INSERTS[dialect][name], added)

    def _run_changed(self, record: RunChanged) -> None:
        earlier = self.runs.get(record.run_id, {})
        self.runs[record.run_id] = {
            "b_id": record.run_id,
            "b_state": record.state.value,
            "b_reason": storable(record.reason),
            "b_partial": record.partial,
            "b_outputs": record.outputs,
            "b_started_at": earlier.get("b_started_at") or (record.at if record.state is RunState.RUNNING else None),
            "b_finished_at": record.at if record.state.final else None,
        }

    def _permits_gone(self, record: PermitsGone) -> None:
        self.permits[record.run_id] = {"b_id": record.run_id, "b_at": record.at}

    def _step_expanded(self, record: StepExpanded) -> None:
        row = self._step(record.run_id, record.step_no)
        row |= {"state": StepState.RUNNING.value, "count": record.count, "expanded_at": record.at}

    def _step_finished(self, record: StepFinished) -> None:
        row = self._step(record.run_id, record.step_no)
        row |= {
            "state": record.state.value,
            "reason": storable(record.reason),
            "tolerated": record.tolerated,
            "succeeded": record.succeeded,
            "failed": record.failed,
            "skipped": record.skipped,
            "finished_at": record.at,
        }

    def _dispatched(self, record: Dispatched) -> None:
        row = self._attempt(record)
        row["kind"], row["queue"], row["dispatched_at"] = record.kind.value, record.queue, record.at
        row["ceiling_nusd"] = record.ceiling_nusd

    def _begun(self, record: Begun) -> None:
        row = self._attempt(record)
        row["begun_at"], row["worker"] = record.at, storable(record.worker)

    def _attempt_ended(self, record: AttemptEnded) -> None:
        row = self._attempt(record)
        row["outcome"], row["recorded_at"], row["retry_at"] = record.outcome.value, record.at, record.retry_at
        row["repeated"] = record.repeated
        if record.error is not None:
            row["error"] = error_text(record.error)
        if record.worker:
            row["worker"] = storable(record.worker)
        if record.begun_at is not None:
            row["begun_at"] = record.begun_at
        row["ended_at"] = record.ended_at if record.ended_at is not None else record.at

    def _node_finished(self, record: NodeFinished) -> None:
        self.nodes.append({
            "run_id": record.run_id,
            "step_no": record.step_no,
            "item": record.item,
            "state": record.state.value,
            "attempt": record.attempt,
            "reason": storable(record.reason),
            "finished_at": record.at,
            "result": record.result,
        })  # fmt: skip

    def _nodes_skipped(self, record: NodesSkipped) -> None:
        shared = {
            "run_id": record.run_id,
            "step_no": record.step_no,
            "state": record.state.value,
            "attempt": None,
            "reason": storable(record.reason),
            "finished_at": record.at,
            "result": None,
        }
        self.nodes.extend(shared | {"item": item} for item in record.items)

    def _duplicate(self, record: Duplicate) -> None:
        self.duplicates.append({
            "run_id": record.run_id,
            "number": self._number(record),
            "step_no": record.step_no,
            "item": record.item,
            "attempt": record.attempt,
            "outcome": record.outcome.value,
            "worker": storable(record.worker),
            "at": record.at,
            "begun_at": record.begun_at,
            "ended_at": record.ended_at,
        })  # fmt: skip

    def _log_lines(self, record: LogLines) -> None:
        first = self._number(record)
        self.log_lines.extend(
            {
                "run_id": record.run_id,
                "number": first + offset,
                "step_no": record.step_no,
                "item": record.item,
                "attempt": record.attempt,
                "text": storable(line),
            }
            for offset, line in enumerate(record.lines)
        )
        if record.progress is not None:
            self._attempt(record)["progress"] = record.progress

    def _noted(self, record: Noted) -> None:
        for kind, data in record.notes:
            if kind == CEILING:
                self._attempt(record)["ceiling_nusd"] = int(data["nusd"])
        for kind, row in rows_of(record):
            key = tuple(row[column.name] for column in KINDS[kind].into.primary_key.columns)
            kept = self.notes.setdefault(kind, {}).setdefault(key, row)
            if KINDS[kind].settles and row["settled"] and not kept["settled"]:
                self.notes[kind][key] = {**row, "at": kept["at"]}

    def _decision(self, record: Decision) -> None:
        self.decisions.append({
            "run_id": record.run_id,
            "number": self._number(record),
            "kind": record.kind,
            "reason": storable(record.reason),
            "at": record.at,
            "step_no": record.step_no,
            "item": record.item,
            "figures": orjson.dumps(record.figures).decode(),
        })  # fmt: skip

    def _budget_changed(self, record: BudgetChanged) -> None:
        self.budgets[record.run_id] = {"b_id": record.run_id, "b_budget": orjson.dumps(record.budget).decode()}

    def _command_handled(self, record: CommandHandled) -> None:
        error = storable(record.error) if record.error is not None else None
        self.commands.append({"b_id": record.command_id, "b_at": record.at, "b_error": error})

    def _number(self, record: Record) -> int:
        return self._numbers[id(record)][1]

    def _step(self, run_id: str, step_no: int) -> Row:
        key = (run_id, step_no)
        row = self.steps.get(key)
        if row is None:
            row = self.steps[key] = dict(_EMPTY_STEP, b_run_id=run_id, b_step_no=step_no)
        return row

    def _attempt(self, record: Dispatched | Begun | AttemptEnded | LogLines | Noted) -> Row:
        key = (record.run_id, record.step_no, record.item, record.attempt)
        row = self.attempts.get(key)
        if row is None:
            row = self.attempts[key] = dict(zip(_ATTEMPT_COLUMNS, (*key, *_NOTHING), strict=True))
        return row


_ATTEMPT_COLUMNS = tuple(column.name for column in ATTEMPT.columns)
_NOTHING = (None,) * (len(_ATTEMPT_COLUMNS) - len(ATTEMPT.primary_key.columns))
_STEP_COLUMNS = (
    "state",
    "reason",
    "tolerated",
    "count",
    "succeeded",
    "failed",
    "skipped",
    "expanded_at",
    "finished_at",
)
_EMPTY_STEP: Mapping[str, Any] = dict.fromkeys(_STEP_COLUMNS)

_FOLD: Mapping[type, Callable[[Batch, Any], None]] = {
    RunChanged: Batch._run_changed,
    PermitsGone: Batch._permits_gone,
    StepExpanded: Batch._step_expanded,
    StepFinished: Batch._step_finished,
    Dispatched: Batch._dispatched,
    Begun: Batch._begun,
    AttemptEnded: Batch._attempt_ended,
    NodeFinished: Batch._node_finished,
    NodesSkipped: Batch._nodes_skipped,
    Duplicate: Batch._duplicate,
    LogLines: Batch._log_lines,
    Noted: Batch._noted,
    Decision: Batch._decision,
    BudgetChanged: Batch._budget_changed,
    CommandHandled: Batch._command_handled,
}


def error_text(error: ErrorInfo) -> str:
    """An error as JSON text."""
    data = {name: storable(value) if isinstance(value, str) else value for name, value in error.to_json().items()}
    return orjson.dumps(data).decode()


def _keep_first(dialect: str, into: Table) -> Insert:
    return insert_many(dialect, into).on_conflict_do_nothing()


@cache
def _note_statement(kind: str, dialect: str) -> Insert:
    into = KINDS[kind].into
    if not KINDS[kind].settles:
        return _keep_first(dialect, into)
    insert = insert_many(dialect, into)
    own = {column.name for column in into.primary_key.columns} | {"at"}  # a day's sum stays that of when it was held
    told = {column.name: insert.excluded[column.name] for column in into.columns if column.name not in own}
    newer = into.c.settled.is_(false()) & insert.excluded.settled.is_(true())
    return insert.on_conflict_do_update(index_elements=list(into.primary_key.columns), set_=told, where=newer)


def _attempts(dialect: str) -> Insert:
    insert = insert_many(dialect, ATTEMPT)
    told: dict[str, ColumnElement[Any]] = {
        name: func.coalesce(insert.excluded[name], ATTEMPT.c[name])
        for name in _ATTEMPT_COLUMNS[4:]
        if name != "retry_at"
    }
    # A row that brings an outcome brings the whole truth about another try: also that there is none.
    told["retry_at"] = case((insert.excluded.outcome.is_not(None), insert.excluded.retry_at), else_=ATTEMPT.c.retry_at)
    return insert.on_conflict_do_update(index_elements=list(ATTEMPT.primary_key.columns), set_=told)


def _runs() -> Update:
    changes: dict[str, Any] = {name: bindparam(f"b_{name}") for name in ("state", "reason", "partial", "finished_at")}
    return (
        update(RUN)
        .where(RUN.c.id == bindparam("b_id"))
        .values(
            **changes,
            outputs=func.coalesce(bindparam("b_outputs", type_=RUN.c.outputs.type), RUN.c.outputs),
            started_at=func.coalesce(RUN.c.started_at, bindparam("b_started_at", type_=RUN.c.started_at.type)),
        )
    )


def _permits() -> Update:
    at = bindparam("b_at", type_=RUN.c.permits_gone_at.type)
    return (
        update(RUN)
        .where(RUN.c.id == bindparam("b_id"))
        .values(permits_gone_at=func.coalesce(RUN.c.permits_gone_at, at))
    )


def _steps() -> Update:
    told = {name: func.coalesce(bindparam(name, type_=STEP.c[name].type), STEP.c[name]) for name in _STEP_COLUMNS}
    where = (STEP.c.run_id == bindparam("b_run_id"), STEP.c.step_no == bindparam("b_step_no"))
    return update(STEP).where(*where).values(**told)


def _commands() -> Update:
    return (
        update(COMMAND)
        .where(COMMAND.c.id == bindparam("b_id"), COMMAND.c.handled_at.is_(None))
        .values(handled_at=bindparam("b_at"), error=bindparam("b_error"))
    )


def _inserts(dialect: str) -> Mapping[str, Insert]:
    return {
        "attempts": _attempts(dialect),
        "nodes": _keep_first(dialect, NODE),
        "duplicates": _keep_first(dialect, DUPLICATE),
        "decisions": _keep_first(dialect, DECISION),
        "log_lines": _keep_first(dialect, LOG_LINE),
    }


_UPDATES: Mapping[str, Update] = {
    "runs": _runs(),
    "permits": _permits(),
    "steps": _steps(),
    "commands": _commands(),
    "budgets": update(RUN).where(RUN.c.id == bindparam("b_id")).values(budget=bindparam("b_budget")),
}
_INSERTS = {dialect: _inserts(dialect) for dialect in ("sqlite", "postgresql")}

__all__: Sequence[str] = ("Batch", "error_text")
