"""The ledger of what calls used and cost, and the sums that stay when its runs are deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_COUNTS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning", "cost_nusd", "saved_nusd")


def upgrade() -> None:
    op.create_table(
        "ledger",
        sa.Column("run_id", sa.Text(), primary_key=True),
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("step_no", sa.Integer(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("kind", "name", "provider", "purpose")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _COUNTS),
        sa.Column("queue_s", sa.Double(), nullable=False),
        sa.Column("call_s", sa.Double(), nullable=False),
        sa.Column("first_token_s", sa.Double(), nullable=True),
        sa.Column("cache", sa.Text(), nullable=False),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("context_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cited_tokens", sa.BigInteger(), nullable=True),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("facts", sa.Text(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ledger_at", "ledger", ["at"])
    op.create_table(
        "ledger_sum",
        sa.Column("quarter_at", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("tenant", sa.Text(), primary_key=True),
        sa.Column("session", sa.Text(), primary_key=True),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("calls", "tokens", "cost_nusd", "saved_nusd")),
        sqlite_with_rowid=False,
    )
