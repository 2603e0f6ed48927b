"""What the API and the command line write: new runs and commands. Nothing else may."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import Connection, bindparam, insert, select

from engine.errors import Conflict, NotFound, UsageError
from engine.scheduling.records import RunState, StepState
from engine.store.columns import COMMAND, PLAN_VERSION, RUN, RUN_TAG, STEP
from engine.store.dialects import Door, change, change_each, dialect_of, find, insert_for, storable
from engine.store.engines import Database
from engine.store.reuse import Reuse, take_over

if TYPE_CHECKING:
    from sqlalchemy.sql.dml import Insert

    from engine.dag.compiled import CompiledPlan, CompiledStep
    from engine.scheduling.snapshot import ChildOf, NewChild

LABEL_MAX = 200
"""Characters of a session, tenant, key or tag."""
PRIORITY_MAX = 1000
"""Priorities go from minus this to this; the same bound as a plan's own."""


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to be stored.

    Parameters
    ----------
    id
        From ``engine.ids.new_run_id``; kept unless the idempotency key names an earlier run.
    plan
        The compiled plan; its steps become rows, so that readers need no plan.
    plan_source
        The plan as JSON data, sub-plans and task defaults included: what the scheduler compiles.
    inputs
        Value (see ``engine.wire``) as JSON text.
    created_at, deadline_at
        Seconds since the epoch; no deadline is ``None``.
    idempotency_key
        Unique within the tenant; ``None`` makes a new run whatever happened before.
    reuse
        What is taken over from an earlier run; ``None`` for nothing.
    code
        Hash of each task type's code (see ``engine.plan.code``), kept with each step and handed to the
        runs below.
    parent
        The attempt at a node that the run stands for; ``None`` for a run of its own.
    max_nusd
        Nano-dollars that it may spend, in place of what its plan says; ``None`` leaves it to that.
    """

    id: str
    tenant: str
    session: str
    shard: int
    plan: CompiledPlan
    plan_source: Mapping[str, Any]
    inputs: str
    created_at: float
    priority: int = 0
    tags: tuple[str, ...] = ()
    idempotency_key: str | None = None
    deadline_at: float | None = None
    reuse: Reuse | None = None
    code: Mapping[str, str] = field(default_factory=dict)
    parent: ChildOf | None = None
    max_nusd: int | None = None


def submit(database: Database, run: NewRun) -> tuple[str, bool]:
    """Store ``run`` with its plan and steps; its id, and whether it is new.

    Raises
    ------
    Conflict
        The idempotency key is taken by a run of another plan or with other inputs.
    UsageError
        A label would not fit a list, a log line or the database.
    """
    _check_labels(run)
    doing = f"submit run {run.id}"
    if run.reuse is None:
        with database.changing(doing) as door:
            return _store(door, run)
    with database.writing(doing) as connection:
        stored, is_new = _store(connection, run)
        if is_new:
            take_over(connection, run.id, run.reuse, run.created_at)
        return stored, is_new


def _store(door: Door, run: NewRun) -> tuple[str, bool]:
    store_plan(door, run.plan, run.plan_source, run.created_at)
    # The unique constraint decides between processes that submit at the same moment.
    if not find(door, _new_run(dialect_of(door), _KEY), _run_row(run)):
        return _earlier(door, run), False
    if run.plan.steps:
        change_each(door, _NEW_STEPS, _step_rows(run))
    if run.tags:
        change_each(door, _NEW_TAGS, [{"tag": tag, "run_id": run.id} for tag in sorted(set(run.tags))])
    return run.id, True


def _check_labels(run: NewRun) -> None:
    """Raise ``UsageError`` for a session, tenant, tag, key or priority that does not fit."""
    named = [("session", run.session), ("tenant", run.tenant), *(("tag", tag) for tag in run.tags)]
    if run.idempotency_key is not None:
        named.append(("idempotency key", run.idempotency_key))
    for what, text in named:
        if not 0 < len(text) <= LABEL_MAX or not text.isprintable():
            raise UsageError(f"{what} {text[:40]!r} must be 1 to {LABEL_MAX} printable characters")
    if abs(run.priority) > PRIORITY_MAX:
        raise UsageError(f"priority {run.priority} must be between -{PRIORITY_MAX} and {PRIORITY_MAX}")


def store_plan(door: Door, plan: CompiledPlan, source: Mapping[str, Any], at: float) -> None:
    """Store a plan unless it is stored already."""
    if find(door, _HELD_PLAN, {"version": plan.version}):
        return
    row = {
        "version": plan.version, "name": plan.name, "source": orjson.dumps(source).decode(), "created_at": at,
    }  # fmt: skip
    change(door, _new_plan(dialect_of(door)), row)
    find(door, _HELD_PLAN, {"version": plan.version})


def start_children(connection: Connection, shard: int, children: Sequence[NewChild]) -> None:
    """Store runs that stand for nodes; one that is stored already is left as it is."""
    stored: set[str] = set()
    code = _code_above(connection, {child.row.parent.run_id for child in children if child.row.parent is not None})
    for child in children:
        if child.plan.version not in stored:
            stored.add(child.plan.version)
            store_plan(connection, child.plan, child.source, child.row.created_at)
        row = child.row
        run = NewRun(
            id=row.id, tenant=row.tenant, session=row.session, shard=shard, plan=child.plan, plan_source=child.source,
            inputs=row.inputs, created_at=row.created_at, priority=row.priority, deadline_at=row.deadline_at,
            parent=row.parent, code=code.get(row.parent.run_id, {}) if row.parent is not None else {},
        )  # fmt: skip
        new = find(connection, _new_run(connection.dialect.name, ("id",)), _run_row(run))
        if new and child.plan.steps:
            change_each(connection, _NEW_STEPS, _step_rows(run))


def _code_above(connection: Connection, run_ids: Collection[str]) -> dict[str, dict[str, str]]:
    """What the runs above were submitted with: a scheduler knows no task types, and thus no code of its own."""
    chosen = select(RUN.c.id, RUN.c.code_hashes).where(RUN.c.id.in_(run_ids), RUN.c.code_hashes.is_not(None))
    return {row.id: orjson.loads(row.code_hashes) for row in connection.execute(chosen)}


def add_command(database: Database, run_id: str, kind: str, arguments: Mapping[str, Any], now: float) -> int:
    """Store a command for the scheduler; its id, by which its answer is found. Raises ``NotFound``."""
    with database.writing(f"store a {kind} command for run {run_id}") as connection:
        shard = connection.scalar(select(RUN.c.shard).where(RUN.c.id == run_id))
        if shard is None:
            raise NotFound(f"no run {run_id}")
        command = {
            "run_id": run_id,
            "shard": shard,
            "kind": kind,
            "arguments": orjson.dumps(dict(arguments)).decode(),
            "created_at": now,
        }
        return int(connection.execute(insert(COMMAND).values(command).returning(COMMAND.c.id)).scalar_one())


_KEY = ("tenant", "idempotency_key")

# Built once, as what goes before is: making a statement costs several times what running it does.
_NEW_STEPS = insert(STEP)
_NEW_TAGS = insert(RUN_TAG)
_NO_RUN: dict[str, Any] = dict.fromkeys(RUN.c.keys())
_NO_STEP: dict[str, Any] = dict.fromkeys(STEP.c.keys())
_HELD_PLAN = (  # until the commit, so that ``retention`` cannot delete the plan in between (Postgres)
    select(PLAN_VERSION.c.version)
    .where(PLAN_VERSION.c.version == bindparam("version"))
    .with_for_update(read=True, key_share=True)
)
_OF_KEY = select(RUN.c.id, RUN.c.plan_version, RUN.c.inputs).where(
    RUN.c.tenant == bindparam("tenant"), RUN.c.idempotency_key == bindparam("key")
)


@cache
def _new_plan(dialect: str) -> Insert:
    return insert_for(dialect, PLAN_VERSION).on_conflict_do_nothing()


@cache
def _new_run(dialect: str, unique: tuple[str, ...]) -> Insert:
    """Inserts a run and gives its id, or nothing where one with the same ``unique`` columns is stored."""
    return insert_for(dialect, RUN).on_conflict_do_nothing(index_elements=unique).returning(RUN.c.id)


def _earlier(door: Door, run: NewRun) -> str:
    (earlier,) = find(door, _OF_KEY, {"tenant": run.tenant, "key": run.idempotency_key})
    for what, is_other in (
        ("another plan", earlier.plan_version != run.plan.version),
        ("other inputs", orjson.loads(earlier.inputs) != orjson.loads(run.inputs)),
    ):
        if is_other:
            raise Conflict(
                f"idempotency key {run.idempotency_key!r} belongs to run {earlier.id}, which has {what}; "
                "use another key, or submit the same again"
            )
    return str(earlier.id)


def _run_row(run: NewRun) -> dict[str, Any]:
    return _NO_RUN | {
        "id": run.id,
        "tenant": run.tenant,
        "session": run.session,
        "plan_name": run.plan.name,
        "plan_version": run.plan.version,
        "shard": run.shard,
        "priority": run.priority,
        "inputs": run.inputs,
        "state": RunState.PENDING.value,
        "reason": "",
        "partial": False,
        "idempotency_key": run.idempotency_key,
        "created_at": run.created_at,
        "deadline_at": run.deadline_at,
        "budget": orjson.dumps({"max_nusd": run.max_nusd}).decode() if run.max_nusd is not None else None,
        "code_hashes": orjson.dumps(dict(run.code)).decode() if _has_runs_below(run) and run.code else None,
        **(_parent_columns(run.parent) if run.parent is not None else {}),
    }


def _has_runs_below(run: NewRun) -> bool:
    return any(step.child is not None for step in run.plan.steps)


def _parent_columns(parent: ChildOf) -> dict[str, Any]:
    return {
        "parent_run": parent.run_id,
        "parent_step_no": parent.step_no,
        "parent_item": parent.item,
        "parent_attempt": parent.attempt,
        "round": parent.round,
        "depth": parent.depth,
    }


def _step_rows(run: NewRun) -> list[dict[str, Any]]:
    return [_step_row(run.id, step) | {"code_hash": _code_hash(step, run.code)} for step in run.plan.steps]


def _code_hash(step: CompiledStep, hashes: Mapping[str, str]) -> str | None:
    if step.child is None:
        return hashes.get(step.task) or None
    from engine.dag.code import step_code  # lazy: reading runs needs nothing of plans

    return step_code(step, hashes)


def _step_row(run_id: str, step: CompiledStep) -> dict[str, Any]:
    return _NO_STEP | {
        "run_id": run_id,
        "step_no": step.no,
        "path": storable(step.path),
        "task": step.task,
        "queue": step.queue,
        "phase": step.phase,
        "skill": step.skill,
        "effects": str(step.effects),
        "fanned": step.fanned,
        # A fall-back starts because its parent failed, before that parent, which waits for it, ends.
        "parents": orjson.dumps([no for no in step.parents if no != step.fallback_of]).decode(),
        "join_kind": step.join.kind.value,
        "attempts_max": step.retry.attempts,
        "state": StepState.WAITING.value,
        "reason": "",
        "tolerated": False,
        "succeeded": 0,
        "failed": 0,
        "skipped": 0,
    }
