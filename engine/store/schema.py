"""The schema's version: bring a database up to date, or say why it does not fit this engine.

Migrations only go forward. Several processes may start at once: the first to get the lock migrates,
the others find nothing to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, column, inspect, select, table, text

from engine.errors import UsageError
from engine.store.engines import Database, single_connection, translated

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

HEAD = "0010"
"""The revision this engine works with. A test holds it equal to the newest migration: asking alembic
would cost every command a tenth of a second."""

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
    if revision(database) == HEAD:
        return
    from alembic import command  # lazy: only who migrates needs it

    engine = single_connection(database)
    with translated("migrate", database.file), engine.begin() as connection:
        if not database.sqlite:  # SQLite's BEGIN IMMEDIATE is the lock
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        _refuse_newer(_current(connection))
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def check_schema(database: Database) -> None:
    """Raise ``UsageError`` unless the database's schema is exactly this engine's."""
    current = revision(database)
    _refuse_newer(current)
    if current != HEAD:
        state = "is empty" if current is None else f"has schema {current}, older than this engine's {HEAD}"
        raise UsageError(f"the database {state}: start a scheduler or `flywheel up` once to migrate it")


def revision(database: Database) -> str | None:
    """The revision of the database's schema; ``None`` while it is empty."""
    with database.reading("read the schema's version") as connection:
        return _current(connection)


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.scalar(select(column("version_num")).select_from(table("alembic_version")))
    return None if found is None else str(found)


def _refuse_newer(current: str | None) -> None:
    if current in (None, HEAD):
        return
    if current not in {script.revision for script in _scripts().walk_revisions()}:
        raise UsageError(
            f"the database has schema {current}, newer than this engine's {HEAD}: "
            "upgrade this installation, or point database_url at another database"
        )


def _scripts() -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "engine.store:migrations")
    config.set_main_option("path_separator", "os")
    return config
