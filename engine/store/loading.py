"""What a scheduler reads: its shard's runs and commands, one run's journal, results for inputs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, Row, bindparam, exists, func, select, text

from engine.errors import NotFound
from engine.runtime.ports import AttemptRow, ChildEnd, ChildOf, CommandRow, RunRow, RunSnapshot, StepRow
from engine.scheduling.records import PARTIAL_NODE, AttemptKind, NodeState, RunState, StepState
from engine.scheduling.snapshot import ExtraRow
from engine.store.columns import NOT_FINAL, PLAN_VERSION
from engine.store.engines import Database
from engine.store.writing import ATTEMPT, COMMAND, NODE, RUN, STEP
from engine.wire import Outcome

_TRIES = (Outcome.FAILED.value, Outcome.TIMED_OUT.value)
_UNKNOWN = tuple(each.value for each in (Outcome.LOST, Outcome.INFRASTRUCTURE, Outcome.CANCELLED, Outcome.OVER_BUDGET))
_EXTRA = frozenset(kind.value for kind in AttemptKind if kind.extra)
_ITEMS_A_QUERY = 500
_RUN_COLUMNS = tuple(
    RUN.c[name]
    for name in (
        "id", "tenant", "session", "plan_name", "plan_version", "inputs", "priority", "state", "reason",
        "created_at", "deadline_at", "partial", "permits_gone_at", "parent_run", "parent_step_no", "parent_item",
        "parent_attempt", "round", "depth", "budget",
    )
)  # fmt: skip

_ATTEMPT_COLUMNS = tuple(
    ATTEMPT.c[name]
    for name in ("step_no", "item", "attempt", "kind", "queue", "dispatched_at", "begun_at", "outcome", "retry_at")
)


# Built once: making a statement costs several times what running it does.
_NEW_RUN = select(*_RUN_COLUMNS).where(
    RUN.c.id == bindparam("run_id"), RUN.c.shard == bindparam("shard"), RUN.c.state == RunState.PENDING.value,
    ~exists().where(STEP.c.run_id == bindparam("run_id"), STEP.c.state != StepState.WAITING.value),
    ~exists().where(NODE.c.run_id == bindparam("run_id")),
)  # fmt: skip


def new_run(database: Database, shard: int, run_id: str) -> RunSnapshot | None:
    """A run of the shard of which nothing but its submission is stored; ``None`` for any other.

    A pending run was never taken up, so that no attempt of it is stored; rows of steps that have ended and
    of nodes are what it takes over from an earlier one.
    """
    found = database.look_up(f"read run {run_id}", _NEW_RUN, {"run_id": run_id, "shard": shard})
    return RunSnapshot(_run_row(found[0]), [], [], [], []) if found else None


def unfinished_runs(database: Database, shard: int, known: Collection[str]) -> Sequence[RunRow]:
    """The shard's runs with no final state whose ids are not in ``known``, oldest first."""
    # Ids first: a poll that finds nothing new, which is nearly every one, then reads the index only.
    ids = select(RUN.c.id).where(RUN.c.shard == shard, text(NOT_FINAL)).order_by(RUN.c.id)
    with database.reading(f"read runs of shard {shard}") as connection:
        new = [run_id for run_id in connection.scalars(ids) if run_id not in known]
        rows: list[Row[Any]] = []
        for start in range(0, len(new), _ITEMS_A_QUERY):
            page = new[start : start + _ITEMS_A_QUERY]
            rows += connection.execute(select(*_RUN_COLUMNS).where(RUN.c.id.in_(page)).order_by(RUN.c.id)).all()
    return [_run_row(row) for row in sorted(rows, key=lambda row: (row.created_at, row.id))]


def living_children(database: Database, run_id: str) -> Sequence[RunRow]:
    """The runs with no final state that were started for nodes of a run."""
    chosen = select(*_RUN_COLUMNS).where(RUN.c.parent_run == run_id, text(NOT_FINAL)).order_by(RUN.c.id)
    with database.reading(f"read the runs below run {run_id}") as connection:
        return [_run_row(row) for row in connection.execute(chosen).all()]


def children(database: Database, run_id: str, step_no: int, items: Iterable[int]) -> Sequence[ChildEnd]:
    """The runs that were started for some nodes of a step, in the order of their rounds."""
    wanted = sorted(set(items))
    found: list[ChildEnd] = []
    with database.reading(f"read the runs of run {run_id} step {step_no}") as connection:
        for start in range(0, len(wanted), _ITEMS_A_QUERY):
            chosen = select(*_RUN_COLUMNS, RUN.c.outputs).where(
                RUN.c.parent_run == run_id, RUN.c.parent_step_no == step_no,
                RUN.c.parent_item.in_(wanted[start : start + _ITEMS_A_QUERY]),
            )  # fmt: skip
            ordered = chosen.order_by(RUN.c.parent_item, RUN.c.parent_attempt, RUN.c.round)
            found += [ChildEnd(_run_row(row), row.outputs) for row in connection.execute(ordered).all()]
    return found


def commands(database: Database, shard: int) -> Sequence[CommandRow]:
    """The shard's commands not yet handled, in order."""
    columns = (COMMAND.c.id, COMMAND.c.run_id, COMMAND.c.kind, COMMAND.c.arguments, COMMAND.c.created_at)
    waiting = select(*columns).where(COMMAND.c.shard == shard, COMMAND.c.handled_at.is_(None)).order_by(COMMAND.c.id)
    with database.reading(f"read commands of shard {shard}") as connection:
        rows = connection.execute(waiting).all()
    return [CommandRow(row.id, row.run_id, row.kind, orjson.loads(row.arguments), row.created_at) for row in rows]


def load(database: Database, run_id: str) -> RunSnapshot:
    """What the journal knows of one run, results left out. Raises ``NotFound``."""
    steps = (STEP.c.step_no, STEP.c.state, STEP.c.count, STEP.c.reason, STEP.c.tolerated)
    told = (STEP.c.run_id == run_id, STEP.c.state != StepState.WAITING.value)
    nodes = select(NODE.c.step_no, NODE.c.item, NODE.c.state).where(NODE.c.run_id == run_id)
    attempts = (
        select(*_ATTEMPT_COLUMNS)
        .where(
            ATTEMPT.c.run_id == run_id, ATTEMPT.c.outcome.is_distinct_from(Outcome.OK.value)
        )  # those ended their nodes
        .order_by(ATTEMPT.c.step_no, ATTEMPT.c.item, ATTEMPT.c.attempt)
    )
    with database.reading(f"load run {run_id}") as connection:
        run = connection.execute(select(*_RUN_COLUMNS).where(RUN.c.id == run_id)).one_or_none()
        if run is None:
            raise NotFound(f"no run {run_id}")
        step_rows = connection.execute(select(*steps).where(*told).order_by(STEP.c.step_no)).all()
        node_rows = connection.execute(nodes.order_by(NODE.c.step_no, NODE.c.item)).all()
        finished = {(step_no, item) for step_no, item, _ in node_rows}
        open_nodes: dict[tuple[int, int], _Open] = {}
        extras: list[ExtraRow] = []
        # Joined here: with the statistics of a table that grew a moment ago, Postgres joins in loops.
        for row in connection.execute(attempts).all():
            key = (row[0], row[1])
            if key in finished:
                continue
            if row[3] in _EXTRA:
                extras.append(ExtraRow(row[0], row[1], row[2], row[6], row[7] is None))
            else:
                open_nodes.setdefault(key, _Open()).add(row)
        errors = {} if run.state == RunState.PENDING.value else _errors(connection, run_id)
        lacking = _lacking(connection, run_id) if run.partial else ()
    states = {state.value: state for state in NodeState}
    return RunSnapshot(
        run=_run_row(run),
        steps=[
            StepRow(no, StepState(state), count, reason, tolerated) for no, state, count, reason, tolerated in step_rows
        ],
        nodes=[(step_no, item, states[state]) for step_no, item, state in node_rows],
        attempts=[attempts_of.row() for attempts_of in open_nodes.values()],
        extras=extras,
        errors=errors,
        lacking=lacking,
    )


def _lacking(connection: Connection, run_id: str) -> Sequence[int]:
    """Steps of a run with a node whose own run was partial."""
    of_run = (NODE.c.run_id == run_id, NODE.c.state == NodeState.SUCCEEDED.value)
    marked = select(NODE.c.step_no).where(*of_run, NODE.c.reason.startswith(PARTIAL_NODE)).distinct()
    return connection.scalars(marked).all()


def _errors(connection: Connection, run_id: str) -> dict[str, int]:
    """How many attempts of a run failed with each error."""
    of_run = (ATTEMPT.c.run_id == run_id, ATTEMPT.c.outcome.in_(_TRIES), ATTEMPT.c.error.is_not(None))
    counts = select(ATTEMPT.c.error, func.count()).where(*of_run).group_by(ATTEMPT.c.error)
    found: dict[str, int] = {}
    for error, count in connection.execute(counts).all():
        told = orjson.loads(error)
        name = f"{told['type']}: {told['message']}"
        found[name] = found.get(name, 0) + count
    return found


def plan_source(database: Database, version: str) -> dict[str, Any]:
    """The stored plan of that version, as JSON data. Raises ``NotFound``."""
    with database.reading(f"read plan {version}") as connection:
        source = connection.scalar(select(PLAN_VERSION.c.source).where(PLAN_VERSION.c.version == version))
    if source is None:
        raise NotFound(f"no plan version {version}")
    return dict(orjson.loads(source))


def results(database: Database, run_id: str, step_no: int, items: Iterable[int] | None) -> dict[int, str]:
    """Results (value JSON text) of the step's succeeded nodes: all, or those of ``items``."""
    done = select(NODE.c.item, NODE.c.result).where(
        NODE.c.run_id == run_id, NODE.c.step_no == step_no, NODE.c.state == NodeState.SUCCEEDED.value
    )
    wanted = None if items is None else sorted(set(items))
    pages = [done] if wanted is None else [
        done.where(NODE.c.item.in_(wanted[start : start + _ITEMS_A_QUERY]))
        for start in range(0, len(wanted), _ITEMS_A_QUERY)
    ]  # fmt: skip
    found: dict[int, str] = {}
    with database.reading(f"read results of run {run_id} step {step_no}") as connection:
        for page in pages:
            found.update((row.item, row.result) for row in connection.execute(page) if row.result is not None)
    return found


def last_error(database: Database, run_id: str, step_no: int) -> str | None:
    """The message of the step's last failed attempt."""
    failed = (
        select(ATTEMPT.c.error)
        .where(ATTEMPT.c.run_id == run_id, ATTEMPT.c.step_no == step_no, ATTEMPT.c.error.is_not(None))
        .order_by(ATTEMPT.c.recorded_at.desc(), ATTEMPT.c.item.desc(), ATTEMPT.c.attempt.desc())
        .limit(1)
    )
    with database.reading(f"read errors of run {run_id} step {step_no}") as connection:
        error = connection.scalar(failed)
    return None if error is None else str(orjson.loads(error)["message"])


class _Open:
    """What the attempts of a node without a final state come to, told in their order."""

    __slots__ = ("first_begun_at", "latest", "losses", "tries", "unknown")

    def __init__(self) -> None:
        self.latest: Any = ()
        self.losses = 0
        self.tries = 0
        self.unknown = 0
        self.first_begun_at: float | None = None

    def add(self, attempt: Any) -> None:
        begun_at, outcome = attempt[6], attempt[7]
        self.latest = attempt
        self.losses += outcome == Outcome.LOST
        self.tries += outcome in _TRIES
        self.unknown += begun_at is not None and outcome in _UNKNOWN
        if begun_at is not None and (self.first_begun_at is None or begun_at < self.first_begun_at):
            self.first_begun_at = begun_at

    def row(self) -> AttemptRow:
        no, item, attempt, kind, queue, dispatched_at, begun_at, outcome, retry_at = self.latest
        return AttemptRow(
            step_no=no, item=item, attempt=attempt, kind=AttemptKind(kind or AttemptKind.RETRY), queue=queue or "",
            dispatched_at=dispatched_at if dispatched_at is not None else (begun_at or 0.0), begun_at=begun_at,
            outcome=Outcome(outcome) if outcome else None, retry_at=retry_at, losses=self.losses, tries=self.tries,
            first_begun_at=self.first_begun_at, unknown=self.unknown,
        )  # fmt: skip


def _run_row(row: Any) -> RunRow:
    return RunRow(
        id=row.id, tenant=row.tenant, session=row.session, plan_name=row.plan_name, plan_version=row.plan_version,
        inputs=row.inputs, priority=row.priority, state=RunState(row.state), reason=row.reason,
        created_at=row.created_at, deadline_at=row.deadline_at, partial=bool(row.partial),
        permits_gone=row.permits_gone_at is not None,
        parent=None if row.parent_run is None else ChildOf(
            row.parent_run, row.parent_step_no, row.parent_item, row.parent_attempt, row.round, row.depth
        ),
        budget=orjson.loads(row.budget) if row.budget else None,
    )  # fmt: skip
