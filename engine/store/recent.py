"""Ids of the newest runs out of a SQLite file, for shell completion: a key press must not wait for SQLAlchemy.

Reads only, and says nothing where it cannot.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path


def recent_runs(file: Path, beginning: str, limit: int = 30) -> list[tuple[str, str, str]]:
    """Id, plan and state of the newest runs whose ids begin so."""
    found = "SELECT id, plan_name, state FROM run WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT ?"
    return [(str(run), str(plan), str(state)) for run, plan, state in _rows(file, found, beginning, limit)]


def _rows(file: Path, statement: str, beginning: str, limit: int) -> list[tuple[object, ...]]:
    if not file.is_file():
        return []
    try:
        connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=0.2)
        try:
            return connection.execute(statement, (beginning, beginning + "\U0010ffff", limit)).fetchall()
        finally:
            connection.close()
    except sqlite3.Error:
        return []
