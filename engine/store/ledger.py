"""The ledger: rows of what calls used and cost, and what is left of them when their run is deleted.

Rows come from notes that travel with completions, whatever became of the attempt, and a note that is told
twice makes one row. Seconds of nodes have no rows here: they are read off the attempts (``spending``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import ColumnElement, Connection, TableClause, case, func, select

from engine.costs.entry import Entry
from engine.ids import ending_run_id
from engine.store.columns import LEDGER, LEDGER_SUM, RUN
from engine.store.dialects import insert_for, storable
from engine.store.engines import Database
from engine.store.reading import find_run_id

if TYPE_CHECKING:
    from engine.scheduling.records import Noted

QUARTER_S = 900
"""Seconds that a sum of deleted runs covers: days begin at a quarter of an hour in every time zone."""

_PAGE = 500
_TOKENS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning")
_SUMS = ("calls", "tokens", "cost_nusd", "saved_nusd")
_FACTS_MAX = 16_384


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent. ``calls`` are those that went out: hits of a cache are none."""

    calls: int = 0
    tokens: int = 0
    cost_nusd: int = 0
    saved_nusd: int = 0


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry of the ledger and the attempt it was made in."""

    run_id: str
    step_no: int
    item: int
    attempt: int
    entry: Entry


def row_of(record: Noted, data: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a note of kind ``ledger``. Raises ``ValueError`` if it is no entry."""
    entry = Entry.from_json(data)
    facts = orjson.dumps(dict(entry.facts)).decode()
    run_id, step_no, item, attempt = _place(record, entry)
    return {
        "run_id": run_id,
        "id": storable(str(entry.id)),
        "step_no": step_no,
        "item": item,
        "attempt": attempt,
        "at": float(entry.at),
        "kind": entry.kind,
        "name": storable(str(entry.name)),
        "provider": storable(str(entry.provider)),
        "purpose": storable(str(entry.purpose)),
        **dict(zip(_TOKENS, entry.usage.to_json(), strict=True)),
        "cost_nusd": int(entry.cost_nusd),
        "saved_nusd": int(entry.saved_nusd),
        "queue_s": float(entry.queue_s),
        "call_s": float(entry.call_s),
        "first_token_s": None if entry.first_token_s is None else float(entry.first_token_s),
        "cache": entry.cache,
        "settled": bool(entry.settled),
        "outcome": entry.outcome,
        "context_tokens": int(entry.context_tokens),
        "cited_tokens": None if entry.cited_tokens is None else int(entry.cited_tokens),
        "score": None if entry.score is None else float(entry.score),
        "facts": storable(facts) if len(facts) <= _FACTS_MAX else "{}",
    }


def _place(record: Noted, entry: Entry) -> tuple[str, int, int, int]:
    """The attempt that an entry is of: whoever told it, or the one whose batch its run was started to end."""
    ends = entry.facts.get("ends")
    if isinstance(ends, Mapping) and ending_run_id(str(ends["run_id"]), entry.id) == record.run_id:
        return str(ends["run_id"]), int(ends["step_no"]), int(ends["item"]), int(ends["attempt"])
    return record.run_id, record.step_no, record.item, record.attempt


def entries(database: Database, run: str, limit: int = 1000) -> list[StoredEntry]:
    """A run's own entries in the order of their steps, without those of runs below it. Raises ``NotFound``."""
    with database.reading(f"read the ledger of run {run}") as connection:
        chosen = select(LEDGER).where(LEDGER.c.run_id == find_run_id(connection, run))
        ordered = chosen.order_by(LEDGER.c.step_no, LEDGER.c.item, LEDGER.c.at, LEDGER.c.id).limit(limit)
        return [_stored(dict(row._mapping)) for row in connection.execute(ordered)]


def spent(database: Database, since: float = 0.0, *, tenant: str | None = None, session: str | None = None) -> Spent:
    """What was spent from ``since`` (epoch seconds) on, by all, a tenant, or a session; deleted runs are in it."""
    live = [LEDGER.c.at >= since, *_of(RUN, tenant, session)]
    sums = (_calls(), func.sum(tokens()), func.sum(LEDGER.c.cost_nusd), func.sum(LEDGER.c.saved_nusd))
    chosen = select(*sums).select_from(LEDGER.join(RUN, RUN.c.id == LEDGER.c.run_id)).where(*live)
    with database.reading("read what was spent") as connection:
        return _added(connection.execute(chosen).one(), _deleted(connection, since, tenant, session))


def spent_by_deleted(
    database: Database, since: float = 0.0, *, tenant: str | None = None, session: str | None = None
) -> Spent:
    """The part of ``spent`` whose runs are deleted, so that nothing more is known of it."""
    with database.reading("read what deleted runs spent") as connection:
        return _added(_deleted(connection, since, tenant, session))


def sum_up(connection: Connection, run_id: str) -> None:
    """Keep what a run spent as sums; to be called in the transaction that deletes it."""
    columns = (LEDGER.c.at, LEDGER.c.cache, tokens(), LEDGER.c.cost_nusd, LEDGER.c.saved_nusd)
    chosen = select(*columns).where(LEDGER.c.run_id == run_id)
    sums: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for at, cache, used, cost, saved in connection.execute(chosen.execution_options(yield_per=_PAGE)):
        quarter = sums[int(at // QUARTER_S) * QUARTER_S]
        for place, amount in enumerate((int(cache in ("none", "miss")), used, cost, saved)):
            quarter[place] += int(amount)
    if not sums:
        return
    tenant, session = connection.execute(select(RUN.c.tenant, RUN.c.session).where(RUN.c.id == run_id)).one()
    insert = insert_for(connection.dialect.name, LEDGER_SUM)
    added = {name: LEDGER_SUM.c[name] + insert.excluded[name] for name in _SUMS}
    connection.execute(
        insert.on_conflict_do_update(index_elements=["quarter_at", "tenant", "session"], set_=added),
        [
            {"quarter_at": at, "tenant": tenant, "session": session, **dict(zip(_SUMS, amounts, strict=True))}
            for at, amounts in sums.items()
        ],
    )


def tokens() -> ColumnElement[int]:
    """All tokens of a row."""
    first, *rest = (LEDGER.c[name] for name in _TOKENS)
    return sum(rest, first)


def _deleted(connection: Connection, since: float, tenant: str | None, session: str | None) -> Sequence[Any]:
    kept = [func.sum(LEDGER_SUM.c[name]) for name in _SUMS]
    chosen = select(*kept).where(LEDGER_SUM.c.quarter_at >= since, *_of(LEDGER_SUM, tenant, session))
    return connection.execute(chosen).one()


def _added(*rows: Sequence[Any]) -> Spent:
    return Spent(*(sum(int(each or 0) for each in amounts) for amounts in zip(*rows, strict=True)))


def _of(table: TableClause, tenant: str | None, session: str | None) -> list[ColumnElement[bool]]:
    wanted = (("tenant", tenant), ("session", session))
    return [table.c[name] == value for name, value in wanted if value is not None]


def _calls() -> ColumnElement[int]:
    return func.sum(case((LEDGER.c.cache.in_(("none", "miss")), 1), else_=0))


def _stored(row: Mapping[str, Any]) -> StoredEntry:
    data = {name: row[name] for name in _ENTRY} | {"settled": bool(row["settled"]), "facts": orjson.loads(row["facts"])}
    entry = Entry.from_json(data | {"usage": [row[name] for name in _TOKENS]})
    return StoredEntry(row["run_id"], row["step_no"], row["item"], row["attempt"], entry)


_ENTRY = (
    "id", "kind", "name", "provider", "purpose", "cost_nusd", "saved_nusd", "at", "queue_s", "call_s", "first_token_s",
    "cache", "outcome", "context_tokens", "cited_tokens", "score",
)  # fmt: skip
