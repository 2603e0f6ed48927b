"""Runs that stand for a node of another run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("run", sa.Column("parent_run", sa.Text(), nullable=True))
    for name in ("parent_step_no", "parent_item", "parent_attempt", "round", "depth"):
        op.add_column("run", sa.Column(name, sa.Integer(), nullable=True))
    op.create_index("run_children", "run", ["parent_run", "parent_step_no", "parent_item"])
    is_top = sa.text("parent_run IS NULL")
    op.create_index("run_top", "run", ["id"], sqlite_where=is_top, postgresql_where=is_top)
