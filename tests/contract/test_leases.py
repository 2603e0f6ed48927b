"""A shard has one owner at a time, by the database's clock, and only the newest one writes."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import text

from engine.errors import Fenced
from engine.store.journal import SqlJournal


def run_out(journal: SqlJournal, shard: int) -> None:
    with journal.database.writing("let the lease run out") as connection:
        connection.execute(text("UPDATE shard SET lease_until = lease_until - 3600 WHERE shard = :s"), {"s": shard})


def test_a_held_lease_is_given_to_nobody_else(journal: SqlJournal) -> None:
    assert journal.acquire(0, "a", 60) == 1
    assert journal.acquire(0, "b", 60) is None
    assert journal.acquire(0, "a", 60) is None
    assert journal.acquire(1, "b", 60) == 1


def test_a_lease_that_ran_out_is_taken_over_and_fences_its_owner(journal: SqlJournal) -> None:
    first = journal.acquire(0, "a", 60)
    assert first is not None
    run_out(journal, 0)
    second = journal.acquire(0, "b", 60)
    assert second == first + 1
    for stale in (lambda: journal.renew(0, first, 60), lambda: journal.commit(0, first, [])):
        with pytest.raises(Fenced, match="shard 0"):
            stale()
    journal.renew(0, second, 60)


def test_an_owner_whose_lease_ran_out_may_go_on_until_it_is_taken_over(journal: SqlJournal) -> None:
    epoch = journal.acquire(0, "a", 60)
    assert epoch is not None
    run_out(journal, 0)
    journal.renew(0, epoch, 60)
    assert journal.acquire(0, "b", 60) is None


def test_a_released_lease_is_free_at_once_and_a_late_release_harms_nobody(journal: SqlJournal) -> None:
    first = journal.acquire(0, "a", 60)
    assert first is not None
    journal.release(0, first)
    second = journal.acquire(0, "b", 60)
    assert second == first + 1
    journal.release(0, first)
    assert journal.acquire(0, "c", 60) is None


def test_the_lease_goes_by_the_databases_clock(journal: SqlJournal) -> None:
    before = time.time()
    journal.acquire(0, "a", 60)
    with journal.database.reading("read the lease") as connection:
        until = connection.scalar(text("SELECT lease_until FROM shard WHERE shard = 0"))
    # Both run on this machine, so the two clocks agree; SQLite's keeps milliseconds.
    assert before - 0.01 <= until - 60 <= time.time() + 0.01
