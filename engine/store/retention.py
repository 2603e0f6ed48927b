"""Forgetting: old runs, everything of a tenant, and artefacts that nobody refers to any more.

A run goes in one transaction of its own, so that no other writer waits long and a crash leaves whole
runs. Artefacts are found by what stored values say, never by what was deleted: a crash between the
two leaves artefacts too many, which the next sweep takes, and never one too few.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, exc, func, select, text

from engine.artefacts.store import GRACE_S, ArtefactStore
from engine.errors import Conflict, UsageError
from engine.scheduling.records import RunState
from engine.store import caching
from engine.store.columns import (
    CACHE_ENTRY,
    CACHE_WRITE,
    IS_TOP,
    LEDGER,
    LEDGER_SUM,
    NOT_FINAL,
    OUTCOME,
    PLAN_VERSION,
    RATING,
)
from engine.store.engines import Database
from engine.store.ledger import sum_up
from engine.store.views import FINAL_STATES
from engine.store.writing import ATTEMPT, DECISION, DUPLICATE, LOG_LINE, NODE, RUN

_REFERENCE = re.compile(r'"ref"\s*:\s*"([0-9a-f]{64})"')
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was forgotten, or would be. ``artefact_bytes`` is their size in bytes."""

    runs: tuple[str, ...]
    artefacts: int
    artefact_bytes: int


def prune(
    database: Database,
    artefacts: ArtefactStore,
    *,
    now: float,
    older_than_s: float,
    states: Collection[RunState] = FINAL_STATES,
    dry_run: bool = False,
    grace_s: float = GRACE_S,
) -> Pruned:
    """Forget runs that ended in one of ``states`` more than ``older_than_s`` seconds ago.

    Parameters
    ----------
    dry_run
        Only say which runs would go. Artefacts are then those that nobody refers to already.
    grace_s
        Age below which no artefact is deleted; longer than any attempt may run.

    Raises
    ------
    UsageError
        A state is not final.
    """
    unfinished = [state.value for state in states if not state.final]
    if unfinished:
        raise UsageError(f"only runs that ended can be pruned, not {', '.join(unfinished)}")
    old = (RUN.c.finished_at < now - older_than_s, RUN.c.state.in_([state.value for state in states]))
    with database.reading("find runs to prune") as connection:
        run_ids = tuple(connection.scalars(select(RUN.c.id).where(*old, text(IS_TOP)).order_by(RUN.c.id)))
    if not dry_run:
        for run_id in run_ids:
            _delete_run(database, run_id)
        _delete_unused_plans(database)
        caching.prune(database, now, GRACE_S)
    # What is referred to only after this was read was put within the grace age, and is left alone.
    count, size = artefacts.sweep(
        _referenced(database), grace_s=max(grace_s, _oldest_unfinished_s(database, now)), dry_run=dry_run
    )
    return Pruned(run_ids, count, size)


def delete_tenant(database: Database, artefacts: ArtefactStore, tenant: str, *, now: float) -> Pruned:
    """Delete all runs of a tenant, their plans, and artefacts that no other tenant's run refers to.

    Artefacts that a running attempt of another tenant may have stored too stay until a later prune.

    Raises
    ------
    Conflict
        A run of the tenant has not ended; cancel it first.
    """
    unfinished = select(RUN.c.id).where(RUN.c.tenant == tenant, text(NOT_FINAL)).order_by(RUN.c.id)
    of_tenant = RUN.c.tenant == tenant
    with database.reading(f"find the runs of tenant {tenant}") as connection:
        running = list(connection.scalars(unfinished))
        if running:
            raise Conflict(f"tenant {tenant} has runs that have not ended: {', '.join(running[:5])}; cancel them first")
        run_ids = tuple(connection.scalars(select(RUN.c.id).where(of_tenant).order_by(RUN.c.id)))
    for run_id in run_ids:
        _delete_run(database, run_id)
    with database.writing(f"delete what tenant {tenant} spent") as connection:
        connection.execute(delete(LEDGER_SUM).where(LEDGER_SUM.c.tenant == tenant))
        connection.execute(delete(CACHE_WRITE).where(CACHE_WRITE.c.tenant == tenant))  # tags may name people
    caching.forget(database, tenant)
    _delete_unused_plans(database)
    # Inputs on their way to a body are artefacts that no row refers to: those of the tenant go as well.
    count, size = artefacts.sweep(_referenced(database), grace_s=_oldest_unfinished_s(database, now))
    return Pruned(run_ids, count, size)


def delete_run(database: Database, run_id: str) -> None:
    """Delete one run, by its whole id. Its artefacts stay until the next prune. Raises ``Conflict`` if it goes on."""
    with database.reading(f"find run {run_id}") as connection:
        if connection.scalar(select(RUN.c.id).where(RUN.c.id == run_id, text(NOT_FINAL))) is not None:
            raise Conflict(f"run {run_id} has not ended; cancel it first")
    _delete_run(database, run_id)


def _oldest_unfinished_s(database: Database, now: float) -> float:
    """Age of the oldest run that has not ended; 0 if there is none.

    An artefact that nobody refers to and that was put before then serves no run: inputs on their way
    are put while their run lives.
    """
    with database.reading("find the oldest unfinished run") as connection:
        oldest = connection.scalar(select(func.min(RUN.c.created_at)).where(text(NOT_FINAL)))
    return 0.0 if oldest is None else max(0.0, now - oldest)


def _delete_run(database: Database, run_id: str) -> None:
    """Delete a run, those below it first: a crash in between leaves none without its parent."""
    with database.reading(f"find the runs below run {run_id}") as connection:
        below = list(connection.scalars(select(RUN.c.id).where(RUN.c.parent_run == run_id)))
    for child in below:
        _delete_run(database, child)
    with database.writing(f"delete run {run_id}") as connection:
        if not database.sqlite:
            # Millions of rows take longer than any other statement may; held back, they would stay for ever.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        sum_up(connection, run_id)  # budgets of a month outlast a run of a week
        for each in (NODE, ATTEMPT, DUPLICATE, DECISION, LOG_LINE, LEDGER, OUTCOME, RATING):
            connection.execute(delete(each).where(each.c.run_id == run_id))
        connection.execute(delete(RUN).where(RUN.c.id == run_id))  # steps, tags and commands go with it


def _delete_unused_plans(database: Database) -> None:
    used = select(RUN.c.id).where(RUN.c.plan_version == PLAN_VERSION.c.version).exists()
    with database.reading("find unused plans") as connection:
        versions = list(connection.scalars(select(PLAN_VERSION.c.version).where(~used)))
    for version in versions:
        try:
            with database.writing(f"delete plan {version}") as connection:
                connection.execute(delete(PLAN_VERSION).where(PLAN_VERSION.c.version == version, ~used))
        except exc.IntegrityError:
            continue  # a run of it was submitted at this moment: it is used again


def _referenced(database: Database) -> set[str]:
    with database.reading("find referenced artefacts") as connection:
        return set(_references(connection, None))


def _references(connection: Connection, of: ColumnElement[bool] | None) -> Iterator[str]:
    """Digests in the stored values of all runs and of caches, or of the runs that ``of`` selects.

    Found in the text, without parsing it. User data that looks like a reference keeps an artefact
    longer than needed, and can do no more.
    """
    columns = (RUN.c.inputs, RUN.c.outputs, NODE.c.result, *(() if of is not None else (CACHE_ENTRY.c.body,)))
    for column in columns:
        chosen = select(column).where(column.like('%"ref"%'))
        if of is not None:
            chosen = chosen.where(
                column.table.c["id" if column.table is RUN else "run_id"].in_(select(RUN.c.id).where(of))
            )
        for value in connection.execution_options(yield_per=_PAGE).scalars(chosen):
            yield from _REFERENCE.findall(value)
