"""SQL tasks: query, execute, on the databases that the setting ``sql_connections`` names."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from engine.errors import Permanent
from engine.plan.decorators import task
from engine.plan.tasktype import TaskContext
from tasks.databases import Bounds, executed, transaction, url_of

ROWS_MAX = 1_000_000
"""Rows that one query may ever return, or one statement be executed for."""

BYTES_MAX = 32 * 1024 * 1024
"""About what rows may ever take in a result."""

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Statement = Annotated[str, Field(min_length=1, max_length=1_000_000)]


@dataclass(frozen=True, slots=True)
class Rows:
    """What a query gave, in its order: each row by the names of its columns. ``truncated``: there were more."""

    columns: list[str]
    rows: list[dict[str, Any]]
    count: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class Executed:
    """Rows that were changed, ``None`` where the database does not say, and the rows of a ``RETURNING``."""

    changed: int | None
    rows: list[dict[str, Any]]


@task("sql.query", effects="none", queue="io")
def query(
    context: TaskContext,
    statement: Statement,
    parameters: dict[str, Any] | None = None,
    connection: str = "local",
    max_rows: Annotated[int, Field(ge=1, le=ROWS_MAX)] = 10_000,
    max_bytes: Annotated[int, Field(ge=1, le=BYTES_MAX)] = 4 * 1024 * 1024,
    truncate: bool = False,
    timeout_s: Seconds = 60.0,
) -> Rows:
    """Read rows, in a transaction that can only read.

    Numbers with a fixed point come as text, times in ISO 8601, bytes in base64.

    Parameters
    ----------
    statement
        One SELECT (or WITH, VALUES). A value is written ``:name`` and given in ``parameters``; a template
        in here would let data rewrite the statement.
    parameters
        Values by name.
    connection
        Name in the setting ``sql_connections``; ``local`` is always there.
    max_rows, max_bytes
        What is taken at most; about 32 MiB at the very most.
    truncate
        Whether more is cut off instead of refused.
    timeout_s
        Seconds the statement may run.

    Raises
    ------
    Permanent
        If there is no such connection, the statement is wrong or writes, or there is more than is taken.
    Retryable
        If the database cannot be reached, is locked, or time is up.

    Examples
    --------
    ::

        late:
          task: sql.query
          with: {statement: "SELECT id, due FROM orders WHERE due < :day", parameters: {day: "{{ inputs.day }}"}}
    """
    bounds = Bounds(timeout_s, context.stop_requested)
    context.check_cancelled()
    with (
        transaction(url_of(connection, context), bounds, read_only=True) as opened,
        executed(opened, statement, parameters or {}, stream=True) as result,
    ):
        if not result.returns_rows:
            raise Permanent("the statement gives no rows; sql.execute is for what changes something")
        columns = _columns(list(result.keys()))
        rows: list[dict[str, Any]] = []
        size = 0
        for row in result:
            plain = dict(zip(columns, map(_plain, row), strict=True))
            size += _size(plain)
            if len(rows) >= max_rows or size > max_bytes:
                if truncate:
                    return Rows(columns, rows, len(rows), truncated=True)
                raise Permanent(
                    f"there is more than max_rows={max_rows:,} rows or max_bytes={max_bytes:,}; narrow the statement "
                    "(LIMIT, an aggregate) or set truncate"
                )
            rows.append(plain)
    return Rows(columns, rows, len(rows), truncated=False)


@task("sql.execute", effects="external", queue="io")
def execute(
    context: TaskContext,
    statement: Statement,
    parameters: dict[str, Any] | None = None,
    rows: Annotated[list[dict[str, Any]], Field(max_length=ROWS_MAX)] | None = None,
    connection: str = "local",
    timeout_s: Seconds = 60.0,
) -> Executed:
    """Change something, in one transaction: all of it is stored or nothing.

    It counts as external. A statement that may run twice (CREATE … IF NOT EXISTS, INSERT … ON CONFLICT
    DO NOTHING, an UPDATE to fixed values) is ``effects: idempotent`` in its step, and is then repeated.

    Parameters
    ----------
    statement
        One statement. A value is written ``:name`` and given in ``parameters`` or ``rows``.
    parameters
        Values by name.
    rows
        Executes the statement once for each, with its values besides ``parameters``; an empty list does
        nothing.
    connection
        Name in the setting ``sql_connections``; ``local`` is always there.
    timeout_s
        Seconds it may run in all.

    Raises
    ------
    Permanent
        If there is no such connection, the statement is wrong, or a constraint forbids it.
    Retryable
        If the database cannot be reached, is locked, the transaction lost against another, or time is up.

    Examples
    --------
    ::

        remember:
          task: sql.execute
          with: {statement: "INSERT INTO seen (id) VALUES (:id) ON CONFLICT DO NOTHING", rows: [{id: 1}, {id: 2}]}
          effects: idempotent
    """
    shared = parameters or {}
    if rows is not None and not rows:
        return Executed(0, [])
    given: Any = [shared | row for row in rows] if rows is not None else shared
    bounds = Bounds(timeout_s, context.stop_requested)
    context.check_cancelled()
    with (
        transaction(url_of(connection, context), bounds, read_only=False) as opened,
        executed(opened, statement, given, stream=False) as result,
    ):
        returned = list(_limited(result)) if result.returns_rows else []
        changed = result.rowcount if result.rowcount >= 0 else None
    return Executed(changed, returned)


def _limited(result: Any) -> Iterator[dict[str, Any]]:
    columns = _columns(list(result.keys()))
    size = 0
    for row in result:
        plain = dict(zip(columns, map(_plain, row), strict=True))
        size += _size(plain)
        if size > BYTES_MAX:
            raise Permanent(f"RETURNING gives more than {BYTES_MAX:,} bytes: nothing was changed")
        yield plain


def _columns(names: list[str]) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Permanent(f"two columns are called {twice[0]!r}: name one of them with AS")
    return names


def _plain(value: Any) -> Any:
    """A column's value as JSON data."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    return str(value) if isinstance(value, Decimal | UUID) else repr(value)


def _size(row: dict[str, Any]) -> int:
    return sum(
        len(name) + (len(value) if isinstance(value, str) else 16 + len(str(value))) for name, value in row.items()
    )
