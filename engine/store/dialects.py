"""Where SQLite and Postgres differ and every writer must know it: inserts that may conflict, text they refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import TableClause
from sqlalchemy.dialects import sqlite

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql


def insert_for(dialect: str, into: TableClause) -> sqlite.Insert | postgresql.Insert:
    """An insert that can say ``ON CONFLICT``, in the dialect's own class."""
    if dialect == "sqlite":
        return sqlite.insert(into)
    from sqlalchemy.dialects import postgresql  # lazy: 30 ms that an installation on SQLite never needs

    return postgresql.insert(into)


def storable(text: str) -> str:
    """``text`` as both databases take it: Postgres refuses NUL, and neither stores lone surrogates."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")
