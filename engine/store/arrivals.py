"""Numbers for records that have no key of their own: log lines, duplicates and decisions.

A record keeps its number when the same batch is written again, so that a commit whose reply was lost
can be repeated; another record that says the same gets another number. Holds no connection.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.clock import Clock, SystemClock
from engine.scheduling.records import Decision, Duplicate, LogLines, Record

Numbers = dict[int, tuple[Record, int]]


class Arrivals:
    """Gives each record, by identity, the first of the numbers it needs.

    Numbers are microseconds since the epoch when the record was first seen, pushed forward where
    needed, so they grow over a run also when another process takes its shard over.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._last = 0
        self._known: Numbers = {}

    def number(self, records: Sequence[Record]) -> Numbers:
        """Numbers of a batch's records, by ``id()``; the records are held so that no id is reused."""
        numbers: Numbers = {}
        for record in records:
            if not isinstance(record, LogLines | Duplicate | Decision):
                continue
            known = self._known.get(id(record))
            numbers[id(record)] = known if known is not None else (record, self._take(_width(record)))
        self._known |= numbers
        return numbers

    def committed(self, numbers: Numbers) -> None:
        """Forget all but the batch just committed, which may yet be written again."""
        self._known = dict(numbers)

    def _take(self, width: int) -> int:
        first = max(self._last + 1, int(self._clock.now() * 1_000_000))
        self._last = first + width - 1
        return first


def _width(record: Record) -> int:
    return max(1, len(record.lines)) if isinstance(record, LogLines) else 1
