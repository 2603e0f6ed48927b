"""What was learned from runs, and how often it was reset."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "learned",
        sa.Column("shard", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("plan", sa.Text(), primary_key=True),
        sa.Column("path", sa.Text(), primary_key=True),
        sa.Column("task", sa.Text(), primary_key=True),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
    )
    generation = op.create_table(
        "learned_generation",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
    )
    op.bulk_insert(generation, [{"id": 1, "generation": 0}])
