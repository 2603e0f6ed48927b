"""Numbers of records that have no key: the same record keeps its number, an equal one gets another."""

from __future__ import annotations

from engine.scheduling.records import Decision, LogLines, PermitsGone
from engine.store.arrivals import Arrivals


class StoppedClock:
    def now(self) -> float:
        return 1.0

    def monotonic(self) -> float:
        return 1.0


def test_numbers_grow_by_what_a_record_needs_and_also_when_time_stands_still() -> None:
    arrivals = Arrivals(StoppedClock())
    records = [LogLines("r", 0, 0, 1, ("a", "b", "c")), Decision("r", "k", "", 1.0), PermitsGone("r", 1.0)]
    numbers = arrivals.number(records)
    assert [number for _, number in numbers.values()] == [1_000_000, 1_000_003]


def test_a_record_written_again_keeps_its_number_until_another_batch_is_stored() -> None:
    arrivals = Arrivals(StoppedClock())
    first, equal = LogLines("r", 0, 0, 1, ("a",)), LogLines("r", 0, 0, 1, ("a",))
    failed = arrivals.number([first])
    again = arrivals.number([first, equal])
    assert again[id(first)] == failed[id(first)]
    assert again[id(equal)][1] > again[id(first)][1]
    arrivals.committed(again)
    assert arrivals.number([first, equal]) == again
    arrivals.committed({})
    assert arrivals.number([first])[id(first)][1] > again[id(equal)][1]
