"""Many rows in one statement: how a batch goes to SQLite and to Postgres. Opens no transaction.

SQLAlchemy prepares the parameters of each row in Python, which cost as much as SQLite's own work; on
SQLite a statement therefore goes to the driver with plain rows (see ``dialects``). Postgres reads one array
a column in step (``unnest``).
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Table, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from engine.store.dialects import Door, Row, change, change_each, driver


def insert_many(dialect: str, into: Table) -> sqlite.Insert | postgresql.Insert:
    """An insert that takes rows on SQLite, and one array a column on Postgres; for ``insert_rows``."""
    if dialect == "sqlite":
        return sqlite.insert(into)
    arrays = [func.unnest(bindparam(column.name, type_=postgresql.ARRAY(column.type))) for column in into.columns]
    return postgresql.insert(into).from_select([column.name for column in into.columns], select(*arrays))


def insert_rows(door: Door, statement: Insert, rows: Sequence[Row]) -> None:
    """Execute an insert made of ``insert_many`` for all of ``rows``, each of which has every column."""
    if driver(door) is not None:
        change_each(door, statement, rows)
    else:
        change(door, statement, {name: [row[name] for row in rows] for name in rows[0]})
