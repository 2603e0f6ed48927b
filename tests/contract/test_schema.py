"""The migrated database is the one the tables describe, and another schema is refused in words."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from engine.errors import UsageError
from engine.store.engines import Database
from engine.store.journal import SqlJournal
from engine.store.schema import check_schema, migrate
from engine.store.tables import METADATA


def test_the_migrated_schema_is_what_the_tables_say(journal: SqlJournal) -> None:
    with journal.database.reading("compare") as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


def test_a_migrated_database_passes_and_may_be_migrated_again(journal: SqlJournal) -> None:
    check_schema(journal.database)
    migrate(journal.database)
    check_schema(journal.database)


def test_an_empty_database_is_refused_until_it_is_migrated(url: str) -> None:
    database = Database(url)
    with pytest.raises(UsageError, match="the database is empty"):
        check_schema(database)
    database.close()


def test_a_newer_database_is_refused_by_check_and_by_migrate(journal: SqlJournal) -> None:
    with journal.database.writing("pretend") as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for refuses in (check_schema, migrate):
        with pytest.raises(UsageError, match="9999, newer than this engine's"):
            refuses(journal.database)
