"""Connections to SQLite and Postgres, and the one place where their errors become ours.

A ``Database`` has two SQLAlchemy engines: ``writing()`` and ``reading()`` hand out a connection with
a transaction open, and commit it when the block ends well; ``changing()`` and ``look_up()`` are for what
runs often. No other module opens a connection.

References
----------
https://www.sqlite.org/lang_transaction.html: a deferred transaction that reads before it writes
fails with SQLITE_BUSY whatever the busy timeout; an immediate one waits.
https://www.sqlite.org/wal.html: WAL needs memory shared by all its users, so one host.
"""

from __future__ import annotations

import os
import sqlite3
import weakref
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import sqlalchemy
from sqlalchemy import ColumnElement, Connection, Engine, Select, event, exc, literal_column
from sqlalchemy.pool import NullPool

from engine.errors import Unavailable, UsageError
from engine.store.dialects import Door, Row, find

BUSY_TIMEOUT_MS = 30_000
"""How long a SQLite writer waits for another process's; past it the write is ``Unavailable``."""

STATEMENT_TIMEOUT_MS = 30_000
"""How long one Postgres statement may take."""

_NETWORK_FILESYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "lustre", "fuse.sshfs"}
)
_PASSING = (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError)
_PASSING_OF_SQLITE = (sqlite3.OperationalError, sqlite3.InterfaceError, sqlite3.InternalError)
_OPEN: weakref.WeakSet[Database] = weakref.WeakSet()


class Database:
    """One database, by URL.

    Parameters
    ----------
    url
        ``sqlite:///<absolute path>`` or ``postgresql://…`` (15 or newer, driven by psycopg 3).

    Raises
    ------
    UsageError
        The URL is of another kind, or a SQLite file would lie on a network filesystem.
    """

    def __init__(self, url: str) -> None:
        self.url = _checked_url(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self._write, self._read = self._sqlite_engines() if self.sqlite else self._postgres_engines()
        _OPEN.add(self)

    @property
    def file(self) -> str | None:
        """SQLite's file; ``None`` for another backend."""
        return self.url.database if self.sqlite else None

    def __repr__(self) -> str:
        return f"Database({self.url.render_as_string(hide_password=True)})"

    @property
    def now(self) -> ColumnElement[float]:
        """The database's own clock, seconds since the epoch, at the time the statement runs."""
        # SQLite before 3.42 has no unixepoch('subsec'); a Julian day keeps milliseconds.
        clock = "(julianday('now') - 2440587.5) * 86400.0" if self.sqlite else "extract(epoch from clock_timestamp())"
        return literal_column(clock, sqlalchemy.Double)

    @contextmanager
    def writing(self, doing: str) -> Iterator[Connection]:
        """A transaction that may write; on SQLite it holds the write lock from its start.

        ``doing`` says what for, with ids; it opens the message of an ``Unavailable``.
        """
        with translated(doing, self.file), self._write.begin() as connection:
            yield connection

    @contextmanager
    def reading(self, doing: str) -> Iterator[Connection]:
        """A transaction that only reads, and sees one state of the database on SQLite."""
        with translated(doing, self.file), self._read.begin() as connection:
            yield connection

    @contextmanager
    def changing(self, doing: str) -> Iterator[Door]:
        """As ``writing``, for ``dialects.change`` and the like alone; on SQLite past SQLAlchemy itself."""
        if not self.sqlite:
            with self.writing(doing) as connection:
                yield connection
            return
        with translated(doing, self.file), closing(self._write.raw_connection()) as pooled:
            own = cast(sqlite3.Connection, pooled.driver_connection)
            own.execute("BEGIN IMMEDIATE")
            yield own
            own.commit()  # what does not come here is rolled back as the connection goes back to its pool

    def look_up(self, doing: str, statement: Select[Any], parameters: Row) -> Sequence[Any]:
        """What one statement finds, as by ``dialects.find``, which sees one state of the database."""
        if not self.sqlite:
            with self.reading(doing) as connection:
                return find(connection, statement, parameters)
        with translated(doing, self.file), closing(self._read.raw_connection()) as pooled:
            return find(cast(sqlite3.Connection, pooled.driver_connection), statement, parameters)

    def close(self) -> None:
        """Close every connection. The database opens new ones if it is used again."""
        for engine in {self._write, self._read}:
            engine.dispose()

    def forget(self) -> None:
        """Drop inherited connections without closing them: they are the parent process's."""
        for engine in {self._write, self._read}:
            engine.dispose(close=False)

    def _sqlite_engines(self) -> tuple[Engine, Engine]:
        path = Path(self.url.database or "")
        refuse_network_filesystem(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        # One writing connection a process: threads queue here in turn, which is fair, instead of in
        # SQLite's sleeping busy handler, which is not.
        write = sqlalchemy.create_engine(self.url, pool_size=1, max_overflow=0, pool_timeout=BUSY_TIMEOUT_MS / 1000)
        read = sqlalchemy.create_engine(self.url, pool_size=4, max_overflow=16)
        event.listen(write, "connect", _prepare_writer)
        event.listen(write, "begin", _begin_immediately)
        event.listen(read, "connect", _prepare_reader)
        event.listen(read, "begin", _begin)
        return write, read

    def _postgres_engines(self) -> tuple[Engine, Engine]:
        engine = sqlalchemy.create_engine(
            self.url,
            pool_size=4,
            max_overflow=4,
            pool_pre_ping=True,
            pool_recycle=1800,
            connect_args={
                "connect_timeout": 5,
                "application_name": "flywheel",
                "keepalives_idle": 10,
                "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC",
            },
        )
        return engine, engine


def single_connection(database: Database) -> Engine:
    """An engine without a pool or a statement timeout on the same database, for migrations."""
    if not database.sqlite:
        return sqlalchemy.create_engine(database.url, poolclass=NullPool, connect_args={"connect_timeout": 5})
    engine = sqlalchemy.create_engine(database.url, poolclass=NullPool)
    event.listen(engine, "connect", _prepare_writer)
    event.listen(engine, "begin", _begin_immediately)
    return engine


@contextmanager
def translated(doing: str, file: str | None = None) -> Iterator[None]:
    """Turn what a backend raises when it cannot serve into ``Unavailable``; let bugs through.

    ``file`` is SQLite's, named where it is broken.
    """
    try:
        yield
    except (*_PASSING, *_PASSING_OF_SQLITE) as error:
        raise Unavailable(f"{doing}: the database cannot serve: {_reason(error)}") from error
    except exc.DatabaseError as error:
        # "malformed" and "not a database" come as the bare class; its subclasses are bugs of ours.
        if type(error) is not exc.DatabaseError and not error.connection_invalidated:
            raise
        raise Unavailable(f"{doing}: the database cannot serve: {_reason(error)}{_remedy(error, file)}") from error
    except sqlite3.DatabaseError as error:  # from the driver itself, see ``dialects``
        if type(error) is not sqlite3.DatabaseError:
            raise
        raise Unavailable(f"{doing}: the database cannot serve: {_reason(error)}{_remedy(error, file)}") from error


def refuse_network_filesystem(path: Path) -> None:
    """Raise ``UsageError`` if ``path`` would lie where SQLite's WAL cannot work. Linux only."""
    kind = _filesystem_of(path.absolute(), Path("/proc/self/mountinfo"))
    if kind in _NETWORK_FILESYSTEMS:
        raise UsageError(
            f"database_url: {path} lies on a network filesystem ({kind}), where SQLite loses data; "
            "use a local path or a postgresql:// URL"
        )


def _filesystem_of(path: Path, mountinfo: Path) -> str | None:
    try:
        lines = mountinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    best, kind = "", None
    for line in lines:
        fields, _, rest = line.partition(" - ")
        mount = fields.split()[4]
        if path.is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, rest.split()[0]
    return kind


def _checked_url(text: str) -> sqlalchemy.URL:
    try:
        url = sqlalchemy.make_url(text)
    except exc.ArgumentError:
        raise UsageError("database_url: not a URL; write sqlite:///<absolute path> or postgresql://…") from None
    backend = url.get_backend_name()
    if backend == "sqlite" and url.database in (None, "", ":memory:"):
        raise UsageError("database_url: SQLite in memory cannot be shared between processes; name a file")
    if backend not in ("sqlite", "postgresql"):
        raise UsageError(f"database_url: {backend} is not supported; use sqlite:/// or postgresql://")
    return url if backend == "sqlite" else url.set(drivername="postgresql+psycopg")


def _prepare_writer(connection: sqlite3.Connection, _record: Any) -> None:
    _prepare(connection, "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA cache_size=-65536")


def _prepare_reader(connection: sqlite3.Connection, _record: Any) -> None:
    _prepare(connection, "PRAGMA query_only=ON")


def _prepare(connection: sqlite3.Connection, *pragmas: str) -> None:
    connection.isolation_level = None  # the driver's own BEGIN is the deferred kind; ours come from listeners
    for pragma in (f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}", "PRAGMA foreign_keys=ON", *pragmas):
        connection.execute(pragma)


def _begin_immediately(connection: Connection) -> None:
    # On the driver's connection, here and below: it goes before every transaction (see ``dialects``).
    cast(sqlite3.Connection, connection.connection.driver_connection).execute("BEGIN IMMEDIATE")


def _begin(connection: Connection) -> None:
    cast(sqlite3.Connection, connection.connection.driver_connection).execute("BEGIN")


def _remedy(error: exc.DatabaseError | sqlite3.Error, file: str | None) -> str:
    original = getattr(error, "orig", error)
    if file is None or not isinstance(original, sqlite3.DatabaseError):
        return ""
    return (
        f". The file {file} is damaged: stop what uses it, and put a backup in its place, or save what can be read "
        f"(sqlite3 {file} .recover | sqlite3 new.db); moved away, it is made anew without its runs"
    )


def _reason(error: exc.SQLAlchemyError | sqlite3.Error) -> str:
    """The driver's own first line: no statement and no parameters, which may hold a user's data."""
    original = getattr(error, "orig", None) or error
    lines = str(original).strip().splitlines()
    return lines[0] if lines else type(original).__name__


def _forget_all() -> None:
    for database in list(_OPEN):
        database.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
