"""Many rows in one statement: how a batch goes to SQLite and to Postgres. Opens no transaction.

SQLAlchemy prepares the parameters of each row in Python, which cost as much as SQLite's own work; on
SQLite a statement is therefore turned into text once and handed to the driver with plain rows. Postgres
reads one array a column in step (``unnest``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Table, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert, Update

Row = Mapping[str, Any]


def insert_many(dialect: str, into: Table) -> sqlite.Insert | postgresql.Insert:
    """An insert that takes rows on SQLite, and one array a column on Postgres; for ``insert_rows``."""
    if dialect == "sqlite":
        return sqlite.insert(into)
    arrays = [func.unnest(bindparam(column.name, type_=postgresql.ARRAY(column.type))) for column in into.columns]
    return postgresql.insert(into).from_select([column.name for column in into.columns], select(*arrays))


def insert_rows(connection: Connection, statement: Insert, rows: Sequence[Row]) -> None:
    """Execute an insert made of ``insert_many`` for all of ``rows``, each of which has every column."""
    if connection.dialect.name == "sqlite":
        update_rows(connection, statement, rows)
    else:
        connection.execute(statement, {name: [row[name] for row in rows] for name in rows[0]})


def update_rows(connection: Connection, statement: Insert | Update, rows: Sequence[Row]) -> None:
    """Execute ``statement``, which is made once and kept, for each of ``rows``: its parameters by name."""
    if connection.dialect.name == "sqlite":
        text, values = _sqlite_form(statement)
        connection.exec_driver_sql(text, [values(row) for row in rows])
    else:
        connection.execute(statement, [dict(row) for row in rows])


@cache
def _sqlite_form(statement: Insert | Update) -> tuple[str, Callable[[Row], tuple[Any, ...]]]:
    """The statement as SQLite's text, and how a row becomes its parameters.

    No type has to be converted: numbers, text and truth values are the driver's own.
    """
    compiled = statement.compile(dialect=sqlite.dialect())
    names = compiled.positiontup or []
    assert len(names) > 1, "one name alone would give a value instead of a tuple"
    return str(compiled), itemgetter(*names)
