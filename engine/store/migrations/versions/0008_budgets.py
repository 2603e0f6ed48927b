"""What an attempt may spend at most, and what an operator or a submission said of a run's budget."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("attempt", sa.Column("ceiling_nusd", sa.BigInteger(), nullable=True))
    op.add_column("run", sa.Column("budget", sa.Text(), nullable=True))
