"""Everything that SQL knows of one run, row by row, in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson
from sqlalchemy import TableClause, select

from engine.store.columns import (
    ATTEMPT,
    COMMAND,
    DECISION,
    DUPLICATE,
    LEDGER,
    LOG_LINE,
    NODE,
    OUTCOME,
    PLAN_VERSION,
    RATING,
    RUN,
    RUN_TAG,
    STEP,
)
from engine.store.engines import Database

_PAGE = 500
_JSON = frozenset(
    {"source", "parents", "inputs", "outputs", "result", "error", "figures", "arguments", "facts", "budget"}
)
_REFERENCE = re.compile(r'"ref"\s*:\s*"([0-9a-f]{64})"')
ORDER: tuple[tuple[TableClause, tuple[str, ...]], ...] = (
    (RUN_TAG, ("tag",)),
    (STEP, ("step_no",)),
    (NODE, ("step_no", "item")),
    (ATTEMPT, ("step_no", "item", "attempt")),
    (DUPLICATE, ("number",)),
    (DECISION, ("number",)),
    (LEDGER, ("step_no", "item", "attempt", "id")),
    (OUTCOME, ("step_no", "item", "attempt", "id")),
    (RATING, ("number",)),
    (COMMAND, ("id",)),
    (LOG_LINE, ("number",)),
)
"""Every table with rows of runs, and how they are ordered."""


def rows_of_run(database: Database, run_id: str, references: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Table name and row, the run and its plan first, as one state of the database shows them.

    Parameters
    ----------
    run_id
        Whole.
    references
        Gets the digest of each artefact that a stored value refers to.
    """
    with database.reading(f"export run {run_id}") as connection:
        connection = connection.execution_options(yield_per=_PAGE)
        run = connection.execute(select(RUN).where(RUN.c.id == run_id)).mappings().one()
        yield RUN.name, _plain(dict(run), references)
        plan = select(PLAN_VERSION).where(PLAN_VERSION.c.version == run["plan_version"])
        for row in connection.execute(plan).mappings():
            yield PLAN_VERSION.name, _plain(dict(row), set())
        for table, order in ORDER:
            chosen = select(table).where(table.c.run_id == run_id).order_by(*(table.c[name] for name in order))
            for row in connection.execute(chosen).mappings():
                yield table.name, _plain(dict(row), references)


def _plain(row: dict[str, Any], references: set[str]) -> dict[str, Any]:
    for name in _JSON & row.keys():
        text = row[name]
        if isinstance(text, str):
            references.update(_REFERENCE.findall(text))
            row[name] = orjson.loads(text)
    return row
