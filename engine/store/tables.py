"""The tables, as SQLModel classes: what is stored, its keys and its indexes.

Nothing here reads or writes. Statements are made from ``TABLE.__table__`` by the modules beside this
one; no other package knows a table's name. Times are seconds since the epoch, UTC. Text that holds
JSON is kept as text, so that it goes in and out of the hot paths without being parsed.

The tables written once a node (``node``, ``attempt``, ``log_line``, ``duplicate``) have no foreign
key: Postgres would check each of their rows, and lock the run's, for what the single writer already
guarantees.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Double, Index, Integer, Table, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from engine.store.columns import IS_TOP, NOT_FINAL
from engine.store.economy_tables import CacheEntry as CacheEntry
from engine.store.economy_tables import CacheWrite as CacheWrite
from engine.store.economy_tables import Ledger as Ledger
from engine.store.economy_tables import LedgerSum as LedgerSum
from engine.store.economy_tables import Outcome as Outcome
from engine.store.economy_tables import Rating as Rating


class PlanVersion(SQLModel, table=True):
    """A plan's content, stored once whatever the number of its runs. ``source`` is JSON text."""

    __tablename__ = "plan_version"

    version: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(sa_type=Text)
    source: str = Field(sa_type=Text)
    created_at: float = Field(sa_type=Double)


class Run(SQLModel, table=True):
    """One execution of a plan. ``inputs`` and ``outputs`` are values' JSON text.

    A run that stands for a node of another names that node's attempt; the six columns from ``parent_run``
    are empty for all others. ``code_hashes``, JSON text by task type, is what the runs below it get.
    """

    __tablename__ = "run"
    __table_args__ = (
        UniqueConstraint("tenant", "idempotency_key", name="run_idempotency"),
        Index("run_unfinished", "shard", "id", sqlite_where=text(NOT_FINAL), postgresql_where=text(NOT_FINAL)),
        Index("run_plan_version", "plan_version"),
        Index("run_children", "parent_run", "parent_step_no", "parent_item"),
        # Lists of runs leave those out that stand for nodes, of which there may be very many.
        Index("run_top", "id", sqlite_where=text(IS_TOP), postgresql_where=text(IS_TOP)),
    )

    id: str = Field(primary_key=True, sa_type=Text)
    tenant: str = Field(sa_type=Text)
    session: str = Field(sa_type=Text)
    plan_name: str = Field(sa_type=Text)
    plan_version: str = Field(sa_type=Text, foreign_key="plan_version.version")
    shard: int = Field(sa_type=Integer)
    priority: int = Field(sa_type=Integer)
    inputs: str = Field(sa_type=Text)
    state: str = Field(sa_type=Text)
    reason: str = Field(sa_type=Text)
    partial: bool = Field(sa_type=Boolean)
    outputs: str | None = Field(sa_type=Text)
    idempotency_key: str | None = Field(sa_type=Text)
    created_at: float = Field(sa_type=Double)
    started_at: float | None = Field(sa_type=Double)
    finished_at: float | None = Field(sa_type=Double)
    deadline_at: float | None = Field(sa_type=Double)
    permits_gone_at: float | None = Field(sa_type=Double)
    parent_run: str | None = Field(default=None, sa_type=Text)
    parent_step_no: int | None = Field(default=None, sa_type=Integer)
    parent_item: int | None = Field(default=None, sa_type=Integer)
    parent_attempt: int | None = Field(default=None, sa_type=Integer)
    round: int | None = Field(default=None, sa_type=Integer)
    depth: int | None = Field(default=None, sa_type=Integer)
    code_hashes: str | None = Field(default=None, sa_type=Text)
    budget: str | None = Field(default=None, sa_type=Text)


class RunTag(SQLModel, table=True):
    """A tag of a run; a table of its own so that both databases find runs by tag with one index."""

    __tablename__ = "run_tag"
    __table_args__ = (Index("run_tag_run", "run_id"),)

    tag: str = Field(primary_key=True, sa_type=Text)
    run_id: str = Field(primary_key=True, sa_type=Text, foreign_key="run.id", ondelete="CASCADE")


class Step(SQLModel, table=True):
    """A step of a run. The columns up to ``attempts_max`` are the compiled plan's, written once at
    submission, so that readers and the auditor need no plan; ``parents`` is a JSON list of numbers.
    ``code_hash`` is that of the code which made its results, empty where none is known.
    """

    __tablename__ = "step"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_id: str = Field(primary_key=True, sa_type=Text, foreign_key="run.id", ondelete="CASCADE")
    step_no: int = Field(primary_key=True, sa_type=Integer)
    path: str = Field(sa_type=Text)
    task: str = Field(sa_type=Text)
    queue: str = Field(sa_type=Text)
    phase: str = Field(sa_type=Text)
    skill: str = Field(sa_type=Text)
    effects: str = Field(sa_type=Text)
    fanned: bool = Field(sa_type=Boolean)
    parents: str = Field(sa_type=Text)
    join_kind: str = Field(sa_type=Text)
    attempts_max: int = Field(sa_type=Integer)
    state: str = Field(sa_type=Text)
    reason: str = Field(sa_type=Text)
    tolerated: bool = Field(sa_type=Boolean)
    count: int | None = Field(sa_type=Integer)
    succeeded: int = Field(sa_type=Integer)
    failed: int = Field(sa_type=Integer)
    skipped: int = Field(sa_type=Integer)
    expanded_at: float | None = Field(sa_type=Double)
    finished_at: float | None = Field(sa_type=Double)
    code_hash: str | None = Field(default=None, sa_type=Text)


class Node(SQLModel, table=True):
    """A node's final state, recorded once; a node without a row has none. ``result`` is a value's text."""

    __tablename__ = "node"
    # Clustered on the key: one B-tree to write instead of two, and a step's nodes lie together.
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_id: str = Field(primary_key=True, sa_type=Text)
    step_no: int = Field(primary_key=True, sa_type=Integer)
    item: int = Field(primary_key=True, sa_type=Integer)
    state: str = Field(sa_type=Text)
    attempt: int | None = Field(sa_type=Integer)
    reason: str = Field(sa_type=Text)
    finished_at: float = Field(sa_type=Double)
    result: str | None = Field(sa_type=Text)


class Attempt(SQLModel, table=True):
    """One try at a node. ``dispatched_at`` is empty for a try that a worker repeated on its own."""

    __tablename__ = "attempt"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_id: str = Field(primary_key=True, sa_type=Text)
    step_no: int = Field(primary_key=True, sa_type=Integer)
    item: int = Field(primary_key=True, sa_type=Integer)
    attempt: int = Field(primary_key=True, sa_type=Integer)
    kind: str | None = Field(sa_type=Text)
    queue: str | None = Field(sa_type=Text)
    dispatched_at: float | None = Field(sa_type=Double)
    begun_at: float | None = Field(sa_type=Double)
    ended_at: float | None = Field(sa_type=Double)
    recorded_at: float | None = Field(sa_type=Double)
    outcome: str | None = Field(sa_type=Text)
    worker: str | None = Field(sa_type=Text)
    retry_at: float | None = Field(sa_type=Double)
    repeated: bool | None = Field(sa_type=Boolean)
    progress: float | None = Field(sa_type=Double)
    error: str | None = Field(sa_type=Text)
    ceiling_nusd: int | None = Field(default=None, sa_type=BigInteger)


class Duplicate(SQLModel, table=True):
    """A report of an attempt that was not current: kept, and it changed nothing."""

    __tablename__ = "duplicate"

    run_id: str = Field(primary_key=True, sa_type=Text)
    number: int = Field(primary_key=True, sa_type=BigInteger)
    step_no: int = Field(sa_type=Integer)
    item: int = Field(sa_type=Integer)
    attempt: int = Field(sa_type=Integer)
    outcome: str = Field(sa_type=Text)
    worker: str = Field(sa_type=Text)
    at: float = Field(sa_type=Double)
    begun_at: float | None = Field(sa_type=Double)
    ended_at: float | None = Field(sa_type=Double)


class Decision(SQLModel, table=True):
    """A choice of the engine with its reason; ``figures`` is JSON text."""

    __tablename__ = "decision"

    run_id: str = Field(primary_key=True, sa_type=Text)
    number: int = Field(primary_key=True, sa_type=BigInteger)
    kind: str = Field(sa_type=Text)
    reason: str = Field(sa_type=Text)
    at: float = Field(sa_type=Double)
    step_no: int | None = Field(sa_type=Integer)
    item: int | None = Field(sa_type=Integer)
    figures: str = Field(sa_type=Text)


class LogLine(SQLModel, table=True):
    """One line that a body logged. ``number`` grows over the whole run, so that it serves as a cursor."""

    __tablename__ = "log_line"

    run_id: str = Field(primary_key=True, sa_type=Text)
    number: int = Field(primary_key=True, sa_type=BigInteger)
    step_no: int = Field(sa_type=Integer)
    item: int = Field(sa_type=Integer)
    attempt: int = Field(sa_type=Integer)
    text: str = Field(sa_type=Text)


class Command(SQLModel, table=True):
    """What an operator asked of a run; ``arguments`` is JSON text, ``error`` says why it was refused."""

    __tablename__ = "command"
    __table_args__ = (
        Index(
            "command_unhandled", "shard", "id",
            sqlite_where=text("handled_at IS NULL"), postgresql_where=text("handled_at IS NULL"),
        ),
        Index("command_run", "run_id"),
        # Ids are cursors of a scheduler that may live long: one is never given out twice.
        {"sqlite_autoincrement": True},
    )  # fmt: skip

    id: int | None = Field(default=None, primary_key=True, sa_type=Integer)
    run_id: str = Field(sa_type=Text, foreign_key="run.id", ondelete="CASCADE")
    shard: int = Field(sa_type=Integer)
    kind: str = Field(sa_type=Text)
    arguments: str = Field(sa_type=Text)
    created_at: float = Field(sa_type=Double)
    handled_at: float | None = Field(sa_type=Double)
    error: str | None = Field(sa_type=Text)


class Shard(SQLModel, table=True):
    """Who schedules a shard's runs. ``lease_until`` is by the database's own clock."""

    __tablename__ = "shard"

    shard: int = Field(primary_key=True, sa_type=Integer, sa_column_kwargs={"autoincrement": False})
    owner: str = Field(sa_type=Text)
    epoch: int = Field(sa_type=BigInteger)
    lease_until: float = Field(sa_type=Double)


class Learned(SQLModel, table=True):
    """What a shard's scheduler learned of one kind. ``facts`` is JSON text.

    A step's kind has a plan, a path and a task; a task type's only the task; a condition's no task.
    """

    __tablename__ = "learned"

    shard: int = Field(primary_key=True, sa_type=Integer, sa_column_kwargs={"autoincrement": False})
    plan: str = Field(primary_key=True, sa_type=Text)
    path: str = Field(primary_key=True, sa_type=Text)
    task: str = Field(primary_key=True, sa_type=Text)
    seen_at: float = Field(sa_type=Double)
    facts: str = Field(sa_type=Text)


class LearnedGeneration(SQLModel, table=True):
    """One row: how often what was learned has been reset."""

    __tablename__ = "learned_generation"

    id: int = Field(primary_key=True, sa_type=Integer, sa_column_kwargs={"autoincrement": False})
    generation: int = Field(sa_type=BigInteger)


class PausedQueue(SQLModel, table=True):
    """A queue to which nothing is dispatched until its row is gone."""

    __tablename__ = "paused_queue"

    queue: str = Field(primary_key=True, sa_type=Text)
    paused_at: float = Field(sa_type=Double)


METADATA = SQLModel.metadata


def table(model: type[SQLModel]) -> Table:
    """The Core table behind a SQLModel class."""
    return METADATA.tables[str(model.__tablename__)]
