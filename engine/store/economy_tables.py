"""The tables of what model calls and tools cost, gave and were worth. ``tables`` has the others, and these by name."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Double, Index, Integer, Text, text
from sqlmodel import Field, SQLModel

_ESTIMATED = text("NOT settled")


class Ledger(SQLModel, table=True):
    """What one model call or tool invocation used and cost; see ``engine.costs.entry``.

    Everything else that is told of an entry is a join away: the attempt, its step and run. Money is in
    nano-dollars; ``facts`` is JSON text.
    """

    __tablename__ = "ledger"
    __table_args__ = (
        Index("ledger_at", "at"),
        Index("ledger_estimated", "run_id", "id", sqlite_where=_ESTIMATED, postgresql_where=_ESTIMATED),
        {"sqlite_with_rowid": False},
    )

    run_id: str = Field(primary_key=True, sa_type=Text)
    id: str = Field(primary_key=True, sa_type=Text)
    step_no: int = Field(sa_type=Integer)
    item: int = Field(sa_type=Integer)
    attempt: int = Field(sa_type=Integer)
    at: float = Field(sa_type=Double)
    kind: str = Field(sa_type=Text)
    name: str = Field(sa_type=Text)
    provider: str = Field(sa_type=Text)
    purpose: str = Field(sa_type=Text)
    input: int = Field(sa_type=BigInteger)
    cache_read: int = Field(sa_type=BigInteger)
    cache_write_5m: int = Field(sa_type=BigInteger)
    cache_write_1h: int = Field(sa_type=BigInteger)
    output: int = Field(sa_type=BigInteger)
    reasoning: int = Field(sa_type=BigInteger)
    cost_nusd: int = Field(sa_type=BigInteger)
    saved_nusd: int = Field(sa_type=BigInteger)
    queue_s: float = Field(sa_type=Double)
    call_s: float = Field(sa_type=Double)
    first_token_s: float | None = Field(sa_type=Double)
    cache: str = Field(sa_type=Text)
    settled: bool = Field(sa_type=Boolean)
    outcome: str = Field(sa_type=Text)
    context_tokens: int = Field(sa_type=BigInteger)
    cited_tokens: int | None = Field(sa_type=BigInteger)
    score: float | None = Field(sa_type=Double)
    facts: str = Field(sa_type=Text)


class LedgerSum(SQLModel, table=True):
    """What runs that were deleted had spent, by quarter of an hour (its start), for budgets of periods."""

    __tablename__ = "ledger_sum"
    __table_args__ = ({"sqlite_with_rowid": False},)

    quarter_at: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    tenant: str = Field(primary_key=True, sa_type=Text)
    session: str = Field(primary_key=True, sa_type=Text)
    calls: int = Field(sa_type=BigInteger)
    tokens: int = Field(sa_type=BigInteger)
    cost_nusd: int = Field(sa_type=BigInteger)
    saved_nusd: int = Field(sa_type=BigInteger)


class CacheEntry(SQLModel, table=True):
    """A result that was kept: as Redis has it (``body``), and when it was begun. ``tags`` is a JSON list."""

    __tablename__ = "cache_entry"
    __table_args__ = (Index("cache_entry_expires", "expires_at"),)

    id: str = Field(primary_key=True, sa_type=Text)
    digest: str = Field(sa_type=Text)
    tenant: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text)
    name: str = Field(sa_type=Text)
    tags: str = Field(sa_type=Text)
    incarnation: str = Field(sa_type=Text)
    stamp: int = Field(sa_type=BigInteger)
    made_at: float = Field(sa_type=Double)
    expires_at: float = Field(sa_type=Double)
    body: str = Field(sa_type=Text)


class CacheWrite(SQLModel, table=True):
    """A write that made every entry stale that was begun before and has one of its tags, a JSON list."""

    __tablename__ = "cache_write"
    __table_args__ = (Index("cache_write_at", "at"),)

    id: str = Field(primary_key=True, sa_type=Text)
    tenant: str = Field(sa_type=Text)
    tags: str = Field(sa_type=Text)
    incarnation: str = Field(sa_type=Text)
    stamp: int = Field(sa_type=BigInteger)
    at: float = Field(sa_type=Double)


class Outcome(SQLModel, table=True):
    """What checks found of one model's answer, whatever became of its attempt. ``text`` is the question's, cut."""

    __tablename__ = "outcome"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_id: str = Field(primary_key=True, sa_type=Text)
    id: str = Field(primary_key=True, sa_type=Text)
    step_no: int = Field(sa_type=Integer)
    item: int = Field(sa_type=Integer)
    attempt: int = Field(sa_type=Integer)
    at: float = Field(sa_type=Double)
    model: str = Field(sa_type=Text)
    task: str = Field(sa_type=Text)
    step_class: str = Field(sa_type=Text)
    passed: bool = Field(sa_type=Boolean)
    score: float = Field(sa_type=Double)
    by: str = Field(sa_type=Text)
    text: str = Field(sa_type=Text)


class Rating(SQLModel, table=True):
    """What an operator says of a run (no step), or of one node's result; the newest counts."""

    __tablename__ = "rating"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_id: str = Field(primary_key=True, sa_type=Text)
    number: int = Field(primary_key=True, sa_type=Integer, sa_column_kwargs={"autoincrement": False})
    step_no: int | None = Field(sa_type=Integer)
    item: int | None = Field(sa_type=Integer)
    at: float = Field(sa_type=Double)
    score: float = Field(sa_type=Double)
    note: str = Field(sa_type=Text)
