"""What caches kept, in SQL: rows that travel with completions, and what of them may come back to a new Redis.

An entry comes back only if no write since it was begun can have made it stale. Writes that are known are
rows; a write of which nothing is known yet is an attempt, at a step with effects, that has not been
recorded or that was lost: while there is one, nothing with tags comes back that its tenant kept before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson
from sqlalchemy import Connection, Row, delete, func, or_, select

from engine.store.columns import ATTEMPT, CACHE_ENTRY, CACHE_WRITE, RUN, STEP
from engine.store.dialects import insert_for, storable
from engine.store.engines import Database

if TYPE_CHECKING:
    from engine.scheduling.records import Noted

_TOLD = ("ok", "failed", "not_begun")
"""Outcomes that say what was written: with the worker's own report, or nothing, where the body never began."""

_PAGE = 500
_CLOCKS_APART_S = 60.0

Write = tuple[str, int, float]
"""Incarnation, stamp and epoch seconds of a write."""


@dataclass(frozen=True, slots=True)
class LiveEntry:
    """An entry that holds still; times in epoch seconds, tags as the index names them."""

    digest: str
    tags: tuple[str, ...]
    made_at: float
    expires_at: float
    body: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of one task type or model of a tenant; ``body_bytes`` without values that are artefacts."""

    tenant: str
    kind: str
    name: str
    entries: int
    body_bytes: int
    made_at: float


def entry_row_of(record: Noted, data: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001 - all kinds are called so
    """The row of a note of kind ``cache``."""
    row: dict[str, Any] = {name: storable(str(data[name])) for name in ("id", "digest", "tenant", "kind", "name")}
    row |= {"incarnation": storable(str(data["incarnation"]))}
    row |= {"stamp": int(data["stamp"]), "made_at": float(data["made_at"]), "expires_at": float(data["expires_at"])}
    return row | {"tags": _listed(data["tags"]), "body": storable(str(data["body"]))}


def write_row_of(record: Noted, data: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001 - all kinds are called so
    """The row of a note of kind ``cache_write``."""
    row = {name: storable(str(data[name])) for name in ("id", "tenant", "incarnation")}
    return row | {"stamp": int(data["stamp"]), "at": float(data["at"]), "tags": _listed(data["tags"])}


def add_write(database: Database, tenant: str, tags: Sequence[str], incarnation: str, stamp: int, at: float) -> None:
    """Store an invalidation that no attempt made."""
    row = {"id": uuid4().hex, "tenant": tenant, "tags": _listed(tags), "incarnation": incarnation}
    with database.writing(f"store an invalidation of tenant {tenant}") as connection:
        connection.execute(insert_for(connection.dialect.name, CACHE_WRITE), [row | {"stamp": stamp, "at": at}])


def live(database: Database, now: float, limit_bytes: int) -> list[LiveEntry]:
    """The entries that may come back, newest first, up to ``limit_bytes`` of text together."""
    with database.reading("read what caches kept") as connection:
        writes = _writes(connection)
        oldest = connection.scalar(select(func.min(CACHE_ENTRY.c.made_at)).where(CACHE_ENTRY.c.expires_at > now))
        if oldest is None:
            return []
        doubtful = _doubtful(connection, oldest)
        found: dict[str, LiveEntry] = {}
        size = 0
        unexpired = _unexpired(connection, now)
        for row in unexpired:
            tags = tuple(orjson.loads(row.tags))
            doubted = bool(tags) and doubtful.get(row.tenant, float("-inf")) > row.made_at - _CLOCKS_APART_S
            stale = any(_stale(row, write) for tag in tags for write in writes.get(tag, ()))
            if doubted or stale or row.digest in found:
                continue
            size += len(row.body)
            if size > limit_bytes:
                break
            found[row.digest] = LiveEntry(row.digest, tags, row.made_at, row.expires_at, row.body.encode())
        unexpired.close()
    return list(found.values())


def overview(database: Database, now: float, tenant: str | None = None) -> list[Kept]:
    """What was kept and has not run out, by tenant, kind and name; a part of it may be stale by now."""
    chosen = [CACHE_ENTRY.c.expires_at > now, *([CACHE_ENTRY.c.tenant == tenant] if tenant is not None else [])]
    by = (CACHE_ENTRY.c.tenant, CACHE_ENTRY.c.kind, CACHE_ENTRY.c.name)
    counted = (
        func.count(CACHE_ENTRY.c.digest.distinct()),
        func.sum(func.length(CACHE_ENTRY.c.body)),
        func.max(CACHE_ENTRY.c.made_at),
    )
    with database.reading("sum up what caches kept") as connection:
        rows = connection.execute(select(*by, *counted).where(*chosen).group_by(*by).order_by(*by)).all()
    return [Kept(*row) for row in rows]


def forget(database: Database, tenant: str | None) -> int:
    """Delete every entry of a tenant, or (``None``) of all; how many."""
    of = (CACHE_ENTRY.c.tenant == tenant,) if tenant is not None else ()
    with database.writing("forget what caches kept") as connection:
        count = int(connection.scalar(select(func.count()).select_from(CACHE_ENTRY).where(*of)) or 0)
        connection.execute(delete(CACHE_ENTRY).where(*of))
    return count


def prune(database: Database, now: float, grace_s: float) -> None:
    """Delete entries that ran out more than ``grace_s`` seconds ago, and writes older than any entry that is left.

    The grace is for attempts that were served just before: their results, as yet unrecorded, may be the same artefact.
    """
    with database.writing("prune what caches kept") as connection:
        connection.execute(delete(CACHE_ENTRY).where(CACHE_ENTRY.c.expires_at < now - grace_s))
        oldest = connection.scalar(select(func.min(CACHE_ENTRY.c.made_at)))
        # Entries of attempts that have not been recorded yet are younger than the grace.
        before = min(oldest if oldest is not None else now, now - grace_s) - grace_s
        connection.execute(delete(CACHE_WRITE).where(CACHE_WRITE.c.at < before))


def _unexpired(connection: Connection, now: float) -> Generator[Row[Any], None, None]:
    newest_first = select(CACHE_ENTRY).where(CACHE_ENTRY.c.expires_at > now).order_by(CACHE_ENTRY.c.made_at.desc())
    # Closed also where the reader has enough before the end.
    with connection.execution_options(yield_per=_PAGE).execute(newest_first) as rows:
        yield from rows


def _writes(connection: Connection) -> dict[str, list[Write]]:
    """The writes of each tag."""
    found: dict[str, list[Write]] = defaultdict(list)
    for row in connection.execute(select(CACHE_WRITE)):
        for tag in orjson.loads(row.tags):
            found[tag].append((row.incarnation, row.stamp, row.at))
    return found


def _doubtful(connection: Connection, oldest: float) -> dict[str, float]:
    """By tenant, until when something may have been written that nobody told of; infinity where it still may be."""
    ended = func.coalesce(ATTEMPT.c.recorded_at, float("inf"))
    untold = or_(ATTEMPT.c.outcome.is_(None), ATTEMPT.c.outcome.not_in(_TOLD))
    lately = or_(RUN.c.finished_at.is_(None), RUN.c.finished_at > oldest - _CLOCKS_APART_S)
    rows = connection.execute(
        select(RUN.c.tenant, func.max(ended))
        .join(ATTEMPT, ATTEMPT.c.run_id == RUN.c.id)
        .join(STEP, (STEP.c.run_id == ATTEMPT.c.run_id) & (STEP.c.step_no == ATTEMPT.c.step_no))
        .where(lately, untold, ATTEMPT.c.dispatched_at.is_not(None), STEP.c.effects != "none")
        .group_by(RUN.c.tenant)
    )
    return {tenant: float(until) for tenant, until in rows}


def _stale(entry: Row[Any], write: Write) -> bool:
    """Whether the write came after the entry was begun, or cannot be told to have come before."""
    incarnation, stamp, at = write
    if incarnation == entry.incarnation:
        return bool(stamp > entry.stamp)
    earlier = _began_us(incarnation) < _began_us(entry.incarnation) and at < entry.made_at
    return not earlier


def _began_us(incarnation: str) -> int:
    """The microsecond in which an index found itself in a new Redis."""
    began = incarnation.rpartition(":")[2]
    return int(began) if began.isdigit() else 0


def _listed(tags: Sequence[str]) -> str:
    return orjson.dumps([storable(str(tag)) for tag in tags]).decode()
