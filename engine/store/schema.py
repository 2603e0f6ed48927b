"""The schema's version: bring a database up to date, or say why it does not fit this engine.

Migrations only go forward. Several processes may start at once: the first to get the lock migrates,
the others find nothing to do.
"""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from engine.errors import UsageError
from engine.store.engines import Database, single_connection, translated

_ADVISORY_LOCK = 0x666C7977  # "flyw": Postgres names advisory locks by number


def migrate(database: Database) -> None:
    """Bring the database up to this engine's schema, creating it if it is empty.

    Raises
    ------
    UsageError
        The database was written by a newer engine.
    Unavailable
        The database cannot be reached, or another process held the lock too long.
    """
    if _revision_of(database) == head():
        return
    engine = single_connection(database)
    with translated("migrate"), engine.begin() as connection:
        if not database.sqlite:  # SQLite's BEGIN IMMEDIATE is the lock
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        _refuse_newer(_current(connection))
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def check_schema(database: Database) -> None:
    """Raise ``UsageError`` unless the database's schema is exactly this engine's."""
    current = _revision_of(database)
    _refuse_newer(current)
    if current != head():
        state = "is empty" if current is None else f"has schema {current}, older than this engine's {head()}"
        raise UsageError(f"the database {state}: start a scheduler or `flywheel up` once to migrate it")


def head() -> str:
    """The revision this engine works with."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def _revision_of(database: Database) -> str | None:
    with database.reading("read the schema's version") as connection:
        return _current(connection)


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_newer(current: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if current is not None and current not in known:
        raise UsageError(
            f"the database has schema {current}, newer than this engine's {head()}: "
            "upgrade this installation, or point database_url at another database"
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "engine.store:migrations")
    config.set_main_option("path_separator", "os")
    return config
