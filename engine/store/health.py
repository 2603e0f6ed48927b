"""What an operator must know of the database: its schema, whether it is whole, its clock, its shards.

Nothing here writes or migrates, so that it can be asked of a database that is not fit to work with.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, func, select, text

from engine.store.columns import NOT_FINAL, RUN, SHARD
from engine.store.engines import Database
from engine.store.schema import HEAD, revision

CHECKED_BYTES_MAX = 256 * 1024 * 1024
"""Largest SQLite file that is read through for its integrity: a second or two."""


@dataclass(frozen=True, slots=True)
class ShardHealth:
    """A shard: who holds it, seconds until its lease ends (negative: since), and runs that have not ended.

    ``owner`` is empty where nobody ever held it, or the last holder gave it up.
    """

    shard: int
    owner: str
    lease_left_s: float
    unfinished: int


@dataclass(frozen=True, slots=True)
class DatabaseHealth:
    """A database that answers.

    Parameters
    ----------
    revision
        Of its schema; ``None`` while it is empty.
    expected
        The revision this engine works with.
    skew_s
        Its clock less this host's, in seconds; the true value lies within the time a question takes.
    damage
        What an integrity check found; empty is none, ``None`` means that it was not made.
    bytes
        Size of a SQLite file with its journal; ``None`` for Postgres.
    asynchronous
        Whether a commit may be lost when the server's host dies (Postgres, ``synchronous_commit=off``).
    """

    server: str
    revision: str | None
    expected: str
    skew_s: float
    damage: str | None
    bytes: int | None
    asynchronous: bool
    shards: Sequence[ShardHealth]


def database_health(url: str) -> DatabaseHealth:
    """Ask the database at ``url``. Raises ``UsageError`` or ``Unavailable``."""
    database = Database(url)
    try:
        found = revision(database)
        with database.reading("check the database") as connection:
            asked = time.time()
            skew_s = float(connection.scalar(select(database.now)) or 0.0) - (asked + time.time()) / 2
            size = _size(Path(database.url.database or "")) if database.sqlite else None
            return DatabaseHealth(
                server=_server(connection, database.sqlite), revision=found, expected=HEAD, skew_s=skew_s,
                damage=_damage(connection, size), bytes=size, asynchronous=_asynchronous(connection, database.sqlite),
                shards=_shards(connection, database) if found is not None else (),
            )  # fmt: skip
    finally:
        database.close()


def _server(connection: Connection, sqlite: bool) -> str:
    version = connection.scalar(text("SELECT sqlite_version()" if sqlite else "SHOW server_version"))
    return f"{'SQLite' if sqlite else 'Postgres'} {version}"


def _asynchronous(connection: Connection, sqlite: bool) -> bool:
    return not sqlite and connection.scalar(text("SHOW synchronous_commit")) == "off"


def _size(file: Path) -> int:
    parts = (file, file.with_name(f"{file.name}-wal"))
    return sum(part.stat().st_size for part in parts if part.exists())


def _damage(connection: Connection, size: int | None) -> str | None:
    """Postgres checks its pages itself, where it was set up to; a SQLite file is read through."""
    if size is None or size > CHECKED_BYTES_MAX:
        return None
    said = str(connection.scalar(text("PRAGMA quick_check(1)")))
    return "" if said == "ok" else said


def _shards(connection: Connection, database: Database) -> list[ShardHealth]:
    counted = select(RUN.c.shard, func.count()).where(text(NOT_FINAL)).group_by(RUN.c.shard)
    waiting: dict[int, int] = dict(connection.execute(counted).tuples().all())
    leases = select(SHARD.c.shard, SHARD.c.owner, SHARD.c.lease_until, database.now).order_by(SHARD.c.shard)
    held = {
        shard: ShardHealth(shard, owner if until else "", until - now, waiting.get(shard, 0))
        for shard, owner, until, now in connection.execute(leases)
    }
    never = {shard: ShardHealth(shard, "", 0.0, count) for shard, count in waiting.items() if shard not in held}
    return [*held.values(), *never.values()]
