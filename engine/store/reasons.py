"""What is stored of why a run went as it did, in pages: decisions, commands, ends of steps, counts of attempts.

Every query is bounded by a limit or gives a count, so that a run of 100,000 nodes is explained as quickly as
one of a hundred. Nothing here writes, and nothing here is in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import orjson
from sqlalchemy import Connection, and_, func, or_, select

from engine.scheduling.records import AttemptKind
from engine.store.columns import ATTEMPT, COMMAND, DECISION, NODE, PAUSED_QUEUE, STEP
from engine.store.engines import Database
from engine.store.views import CommandView, DecisionView

_NUMBERS_A_QUERY = 5000
_EXTRA = tuple(kind.value for kind in AttemptKind if kind.extra)


@dataclass(frozen=True, slots=True)
class StepEnd:
    """A step and how it ended; ``finished_at`` is ``None`` while it has not."""

    step_no: int
    path: str
    fanned: bool
    state: str
    reason: str
    finished_at: float | None


@dataclass(frozen=True, slots=True)
class KindCount:
    """Attempts of a kind; ``won`` of them brought their node's result (told of extra kinds only)."""

    kind: str
    attempts: int
    won: int | None


@dataclass(frozen=True, slots=True)
class Ahead:
    """Attempts that went out while a node waited for its turn: of its own step, and of others in its queue."""

    own_step: int
    others: int


def decisions(
    database: Database, run_id: str, limit: int, step_no: int | None = None, item: int | None = None
) -> tuple[list[DecisionView], int]:
    """The first ``limit`` decisions, oldest first, and how many there are: of a run, a step, or a node.

    With ``item``, those that concern the whole step are among them.
    """
    columns = (DECISION.c[field.name] for field in fields(DecisionView))
    chosen = [DECISION.c.run_id == run_id]
    if step_no is not None:
        chosen.append(DECISION.c.step_no == step_no)
    if item is not None:
        chosen.append(or_(DECISION.c.item.is_(None), DECISION.c.item == item))
    with database.reading(f"read decisions of run {run_id}") as connection:
        total = connection.scalar(select(func.count()).select_from(DECISION).where(*chosen)) or 0
        rows = connection.execute(select(*columns).where(*chosen).order_by(DECISION.c.number).limit(limit)).all()
    return [DecisionView(**dict(row._mapping) | {"figures": orjson.loads(row.figures)}) for row in rows], total


def commands(database: Database, run_id: str, limit: int) -> list[CommandView]:
    """What operators asked of a run, the latest ``limit``, oldest first."""
    columns = (COMMAND.c[field.name] for field in fields(CommandView))
    with database.reading(f"read commands of run {run_id}") as connection:
        chosen = select(*columns).where(COMMAND.c.run_id == run_id).order_by(COMMAND.c.id.desc()).limit(limit)
        return [CommandView(*row) for row in reversed(connection.execute(chosen).all())]


def remarkable_ends(database: Database, run_id: str, limit: int) -> tuple[list[StepEnd], int]:
    """The first ``limit`` steps whose end has a reason (skipped, failed, tolerated), and how many there are."""
    chosen = and_(STEP.c.run_id == run_id, STEP.c.reason != "", STEP.c.finished_at.is_not(None))
    with database.reading(f"read steps of run {run_id}") as connection:
        total = connection.scalar(select(func.count()).select_from(STEP).where(chosen)) or 0
        found = _ends(connection, chosen, limit)
    return found, total


def step_ends(database: Database, run_id: str, numbers: Sequence[int]) -> list[StepEnd]:
    """The steps of those numbers, the first to end first; open ones last."""
    with database.reading(f"read steps of run {run_id}") as connection:
        found: list[StepEnd] = []
        for start in range(0, len(numbers), _NUMBERS_A_QUERY):
            page = numbers[start : start + _NUMBERS_A_QUERY]
            found += _ends(connection, and_(STEP.c.run_id == run_id, STEP.c.step_no.in_(page)), len(page))
    return sorted(found, key=lambda end: (end.finished_at is None, end.finished_at or 0.0))


def kinds(database: Database, run_id: str, step_no: int | None = None) -> list[KindCount]:
    """Attempts by kind, of a run or a step."""
    of = [ATTEMPT.c.run_id == run_id] + ([] if step_no is None else [ATTEMPT.c.step_no == step_no])
    kind = func.coalesce(ATTEMPT.c.kind, AttemptKind.RETRY.value)
    same_node = and_(
        NODE.c.run_id == ATTEMPT.c.run_id, NODE.c.step_no == ATTEMPT.c.step_no, NODE.c.item == ATTEMPT.c.item,
        NODE.c.attempt == ATTEMPT.c.attempt, NODE.c.state == "succeeded",
    )  # fmt: skip
    with database.reading(f"count attempts of run {run_id}") as connection:
        counted = connection.execute(select(kind, func.count()).where(*of).group_by(kind)).all()
        won: dict[str, int] = {}
        if any(name in _EXTRA for name, _ in counted):
            winners = select(ATTEMPT.c.kind, func.count()).select_from(ATTEMPT.join(NODE, same_node))
            rows = connection.execute(winners.where(*of, ATTEMPT.c.kind.in_(_EXTRA)).group_by(ATTEMPT.c.kind))
            won = {row.kind: row[1] for row in rows}
    order = [each.value for each in AttemptKind]
    return [
        KindCount(name, count, won.get(name, 0) if name in _EXTRA else None)
        for name, count in sorted(counted, key=lambda row: order.index(row[0]) if row[0] in order else len(order))
    ]


def ahead(database: Database, run_id: str, step_no: int, queue: str, since: float, until: float) -> Ahead:
    """How many attempts of the run went out to ``queue`` from ``since`` up to, and not at, ``until``."""
    between = (ATTEMPT.c.run_id == run_id, ATTEMPT.c.dispatched_at >= since, ATTEMPT.c.dispatched_at < until)
    with database.reading(f"count attempts of run {run_id}") as connection:
        mine = select(func.count()).select_from(ATTEMPT).where(*between, ATTEMPT.c.step_no == step_no)
        every = select(func.count()).select_from(ATTEMPT).where(*between, ATTEMPT.c.queue == queue)
        own_step = connection.scalar(mine) or 0
        return Ahead(own_step, max(0, (connection.scalar(every) or 0) - own_step))


def paused_since(database: Database, queue: str) -> float | None:
    """When an operator paused the queue; ``None`` if it is not paused."""
    with database.reading("read the paused queues") as connection:
        found: Any = connection.scalar(select(PAUSED_QUEUE.c.paused_at).where(PAUSED_QUEUE.c.queue == queue))
    return None if found is None else float(found)


def _ends(connection: Connection, chosen: Any, limit: int) -> list[StepEnd]:
    columns = (STEP.c[field.name] for field in fields(StepEnd))
    rows = connection.execute(select(*columns).where(chosen).order_by(STEP.c.finished_at).limit(limit))
    return [StepEnd(*row) for row in rows]
