"""Where lines of the ledger are whose cost is not known yet: few, and looked for every other second."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    estimated = sa.text("NOT settled")
    op.create_index("ledger_estimated", "ledger", ["run_id", "id"], sqlite_where=estimated, postgresql_where=estimated)
