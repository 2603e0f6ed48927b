"""The hash of the code that made a step's results, and what a run hands to the runs below it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("step", sa.Column("code_hash", sa.Text(), nullable=True))
    op.add_column("run", sa.Column("code_hashes", sa.Text(), nullable=True))
