"""Where SQLite and Postgres differ and every writer must know it: conflicts, text they refuse, hot statements.

SQLAlchemy's way from a statement to its rows costs ten times what SQLite does for it, and a run of one node
has a dozen such ways in a row. So ``find``, ``change`` and ``change_each`` turn a statement that is made once
into SQLite's text once and hand it to the driver: of SQLAlchemy's connection whose transaction is open, or of
a door that ``Database`` opened for such statements only. Opens no transaction; on Postgres all is as always.
"""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, Select, TableClause
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.dml import Insert, Update

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

Row = Mapping[str, Any]
Statement = Select[Any] | Insert | Update
Door = Connection | sqlite3.Connection
"""Whatever such statements go through; the driver's own connection only on SQLite."""


def insert_for(dialect: str, into: TableClause) -> sqlite.Insert | postgresql.Insert:
    """An insert that can say ``ON CONFLICT``, in the dialect's own class."""
    if dialect == "sqlite":
        return sqlite.insert(into)
    from sqlalchemy.dialects import postgresql  # lazy: 30 ms that an installation on SQLite never needs

    return postgresql.insert(into)


def storable(text: str) -> str:
    """``text`` as both databases take it: Postgres refuses NUL, and neither stores lone surrogates."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")


def find(door: Door, statement: Statement, parameters: Row) -> Sequence[Any]:
    """The rows that ``statement`` gives, which is made once and kept; those of a select have names."""
    if (own := driver(door)) is None:
        return cast(Connection, door).execute(statement, dict(parameters)).all()
    text, values, named = _sqlite_form(statement)
    rows = own.execute(text, values(parameters)).fetchall()
    return rows if named is None else [named(row) for row in rows]


def change(door: Door, statement: Insert | Update, parameters: Row) -> int:
    """How many rows ``statement`` changed, which is made once and kept."""
    if (own := driver(door)) is None:
        return cast(Connection, door).execute(statement, dict(parameters)).rowcount
    text, values, _ = _sqlite_form(statement)
    return own.execute(text, values(parameters)).rowcount


def change_each(door: Door, statement: Insert | Update, rows: Sequence[Row]) -> None:
    """Execute ``statement``, which is made once and kept, for each of ``rows``: its parameters by name."""
    if (own := driver(door)) is None:
        cast(Connection, door).execute(statement, [dict(row) for row in rows])
        return
    text, values, _ = _sqlite_form(statement)
    own.executemany(text, [values(row) for row in rows])


def driver(door: Door) -> sqlite3.Connection | None:
    """SQLite's own connection, in whose transaction statements go; ``None`` on Postgres."""
    if isinstance(door, sqlite3.Connection):
        return door
    return cast(sqlite3.Connection, door.connection.driver_connection) if door.dialect.name == "sqlite" else None


def dialect_of(door: Door) -> str:
    """``sqlite`` or ``postgresql``."""
    return "sqlite" if isinstance(door, sqlite3.Connection) else door.dialect.name


@cache
def _sqlite_form(statement: Statement) -> tuple[str, Callable[[Row], tuple[Any, ...]], Callable[[Any], Any] | None]:
    """The statement as SQLite's text, how a row becomes its parameters, and how what it finds gets names.

    No type has to be converted: numbers, text and truth values are the driver's own.
    """
    compiled = statement.compile(dialect=sqlite.dialect())
    names = compiled.positiontup or []
    named = None
    if isinstance(statement, Select):
        # mypy wants literal names: these columns are known here only
        found: Any = namedtuple("Found", statement.selected_columns.keys(), rename=True)  # type: ignore[misc]
        named = found._make
    said = {name: value for name, value in compiled.params.items() if value is not None}
    if said:
        return str(compiled), lambda row: tuple(said[name] if name in said else row[name] for name in names), named
    if len(names) == 1:
        return str(compiled), lambda row: (row[names[0]],), named
    return str(compiled), itemgetter(*names), named
