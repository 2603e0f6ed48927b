"""Connections to the databases that settings name, and one statement on one of them, under limits.

The library's only importer of SQLAlchemy. Knows nothing of the engine's own database and its tables;
``tasks.sql`` turns what is asked here into task types. SQLAlchemy is imported where it is used: every
worker loads the whole library at its start, and few nodes need this part of it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from engine.errors import Cancelled, Permanent, Retryable
from engine.plan.names import nearest
from engine.plan.tasktype import TaskContext
from settings import mask_url
from tasks.roots import settings_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult, Engine
    from sqlalchemy.exc import SQLAlchemyError

_LOOK_S = 0.1
_SECRET = "secret://"  # noqa: S105 - the scheme of a reference, not a secret
_PASSING_STATES = frozenset({"40001", "40P01", "55P03", "57P01", "57P02", "57P03", "53300"})
# A statement may not reach other files: by ATTACH, by VACUUM INTO (which attaches), or by a loaded library.
_CLOSED_ACTIONS = frozenset({sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH})
_OPEN_PRAGMAS = frozenset({
    "read_uncommitted", "table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list",
})  # fmt: skip
_CLOSED_FUNCTIONS = frozenset({"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"})


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds a statement may run, and who says that it is to stop."""

    timeout_s: float
    stop_requested: Callable[[], bool]


def url_of(connection: str, context: TaskContext) -> str:
    """The address of a named connection; raises ``Permanent`` if settings name none such."""
    known = settings_of(context).sql_connections
    url = known.get(connection)
    if url is None:
        raise Permanent(
            f"there is no connection {connection!r}{nearest(connection, known)}: name it in the setting "
            "sql_connections (FLYWHEEL_SQL_CONNECTIONS)"
        )
    if url.startswith(_SECRET):
        url = context.secret(url.removeprefix(_SECRET))
    scheme, _, rest = url.partition("://")
    return f"postgresql+psycopg://{rest}" if scheme in ("postgres", "postgresql") else url


@contextmanager
def transaction(url: str, bounds: Bounds, *, read_only: bool) -> Iterator[Connection]:
    """A connection in one transaction, committed if the block ends well.

    Raises
    ------
    Permanent
        What the database says of a statement that cannot work.
    Retryable
        If it cannot be reached, is locked, or the transaction lost against another.
    Cancelled
        If the attempt was told to stop.
    """
    from sqlalchemy.exc import SQLAlchemyError

    engine = _engine(url, read_only)
    stopped: list[str] = []
    try:
        with engine.connect() as connection, _watched(connection, bounds, stopped), connection.begin():
            if engine.dialect.name == "postgresql":
                limit_ms = max(1, int(bounds.timeout_s * 1000))
                connection.exec_driver_sql(f"SET LOCAL statement_timeout = {limit_ms}")
            yield connection
    except SQLAlchemyError as error:
        _refuse(engine, error, stopped, bounds.timeout_s)


@contextmanager
def executed(
    connection: Connection, statement: str, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]], *, stream: bool
) -> Iterator[CursorResult[Any]]:
    """The result of one statement with bound parameters; with ``stream``, rows stay with the server until asked for."""
    from sqlalchemy import text
    from sqlalchemy.exc import ArgumentError

    try:
        prepared = text(statement)
        options = {"stream_results": True, "max_row_buffer": 200} if stream else {}
        result = connection.execute(prepared, parameters or None, execution_options=options)
    except (ArgumentError, TypeError, OverflowError) as error:
        raise Permanent(f"the statement cannot be run: {error}") from error
    try:
        yield result
    finally:
        result.close()


@lru_cache(maxsize=32)
def _engine(url: str, read_only: bool) -> Engine:
    """Kept for its dialect only: without a pool, nothing is open between two statements or over a fork."""
    from sqlalchemy import NullPool, create_engine
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed.database or "", read_only)
        # One statement a call: prepared, a text with several is refused by the server.
        arguments = {"connect_timeout": 10, "prepare_threshold": 0}
        options = {"postgresql_readonly": True} if read_only else {}
        return create_engine(
            parsed, poolclass=NullPool, connect_args=arguments, execution_options=options, hide_parameters=True
        )
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise Permanent(f"{mask_url(url)} is not the address of a database") from error
    except ImportError as error:
        raise Permanent(f"the driver of {mask_url(url)} is not installed: {error} (the extra `postgres`)") from error


def _sqlite(path: str, read_only: bool) -> Engine:
    from sqlalchemy import NullPool, create_engine, event

    if path in ("", ":memory:"):
        raise Permanent("a database in memory would be gone with its statement: name a file")
    file = Path(path).absolute()

    def connect() -> sqlite3.Connection:
        if not read_only:
            file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            f"{file.as_uri()}?mode={'ro' if read_only else 'rwc'}",
            uri=True,
            timeout=10.0,
            isolation_level=None,
            check_same_thread=False,
        )
        if not read_only:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA foreign_keys=ON")
        connection.set_authorizer(_authorised)
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # Deferred, two writers that read first fail each other; waiting for the lock at once they queue.
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _authorised(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    closed = action in _CLOSED_ACTIONS
    closed |= action == sqlite3.SQLITE_PRAGMA and (first or "").lower() not in _OPEN_PRAGMAS
    closed |= action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _CLOSED_FUNCTIONS
    return sqlite3.SQLITE_DENY if closed else sqlite3.SQLITE_OK


@contextmanager
def _watched(connection: Connection, bounds: Bounds, stopped: list[str]) -> Iterator[None]:
    """Interrupts the statement when its time is up or the attempt is told to stop; notes why in ``stopped``."""
    driver: Any = connection.connection.driver_connection
    interrupt = driver.interrupt if isinstance(driver, sqlite3.Connection) else driver.cancel_safe
    over = time.monotonic() + bounds.timeout_s
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_LOOK_S):
            if bounds.stop_requested():
                stopped.append("cancelled")
            elif time.monotonic() > over:
                stopped.append("timeout")
            else:
                continue
            interrupt()

    thread = threading.Thread(target=watch, name="sql-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _refuse(engine: Engine, error: SQLAlchemyError, stopped: list[str], timeout_s: float) -> NoReturn:
    from sqlalchemy.exc import DBAPIError

    original = getattr(error, "orig", None) or error
    state = getattr(original, "sqlstate", None) or ""
    if "cancelled" in stopped:
        raise Cancelled("the statement was interrupted, because the attempt was told to stop") from error
    if "timeout" in stopped or state == "57014":
        raise Retryable(f"the statement ran past timeout_s={timeout_s:g}") from error
    words = " ".join(str(original).split())
    if not isinstance(error, DBAPIError):
        raise Permanent(f"the statement cannot be run: {words}") from error
    code = getattr(original, "sqlite_errorcode", 0) & 0xFF
    busy = code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL)
    # Before a server has answered there is no state: it could not be reached.
    lost = error.connection_invalidated or state in _PASSING_STATES or state.startswith("08")
    lost |= engine.dialect.name == "postgresql" and not state and type(original).__name__ == "OperationalError"
    raise (Retryable if busy or lost else Permanent)(f"the database says: {words}") from error
