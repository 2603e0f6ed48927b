"""What alembic runs: the upgrade, on the connection and inside the transaction it was handed."""

from __future__ import annotations

from alembic import context

from engine.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    # SQLite cannot alter a column in place; alembic then copies the table.
    render_as_batch=True,
)
context.run_migrations()
