"""What bodies left behind besides their results, as rows: each kind of note has a table.

A note's row is written in the transaction of whatever its report brings, and keeps what is there
already: a report that is read twice changes nothing. Only an entry of the ledger that was estimated gives
way to the one with its cost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table

from engine.scheduling.records import CEILING, Noted
from engine.store import caching, ledger, ratings, tables

_LOG = logging.getLogger(__name__)

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of note: the table it goes to, and its row, every column of the table in it."""

    into: Table
    row: Callable[[Noted, Mapping[str, Any]], Row]
    settles: bool = False
    """Whether a row that is ``settled`` takes the place of one that is not, but for when that was."""


KINDS: dict[str, Kind] = {
    "ledger": Kind(tables.table(tables.Ledger), ledger.row_of, settles=True),
    "outcome": Kind(tables.table(tables.Outcome), ratings.outcome_row_of),
    "cache": Kind(tables.table(tables.CacheEntry), caching.entry_row_of),
    "cache_write": Kind(tables.table(tables.CacheWrite), caching.write_row_of),
}


def rows_of(record: Noted) -> list[tuple[str, Row]]:
    """The rows of a record's notes, each with the kind of its note.

    What cannot be read, as of a worker of another version, is logged and left out: one note must not
    hold up a shard.
    """
    rows: list[tuple[str, Row]] = []
    for kind, data in record.notes:
        if kind == CEILING:
            continue  # a column of its attempt
        try:
            rows.append((kind, KINDS[kind].row(record, data)))
        except (KeyError, TypeError, ValueError) as error:
            _LOG.error("a note %r of run %s was dropped: %s: %s", kind, record.run_id, type(error).__name__, error)
    return rows
