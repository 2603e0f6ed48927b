"""What was learned is stored for each shard, read by all, and stays away once it is reset."""

from __future__ import annotations

import pytest

from engine.errors import Fenced
from engine.learning.rows import Learned, LearnedRow
from engine.store.journal import SqlJournal
from engine.store.learned import every_row, reset

STEP = LearnedRow("p", "a", "t", 10.0, {"typical_s": 0.5, "bodies": 3.0, "seconds": [[0.5, 3.0]]})
TASK = LearnedRow("", "", "t", 10.0, {"typical_s": 0.4, "bodies": 9.0})
BRANCH = LearnedRow("p", "a", "", 10.0, {"held": 4.0, "refused": 1.0})


def stored(journal: SqlJournal, shard: int = 0) -> Learned:
    found = journal.learned(shard, None)
    assert found is not None
    return found


def as_set(learned: Learned) -> set[tuple[tuple[str, str, str], float]]:
    return {(row.key, row.seen_at) for row in learned.rows}


def test_nothing_is_learned_at_first(journal: SqlJournal) -> None:
    assert stored(journal) == Learned(0, [])
    assert journal.learned(0, 0) is None


def test_what_is_kept_is_read_as_it_was_and_replaced_by_what_is_newer(journal: SqlJournal, epoch: int) -> None:
    assert journal.keep_learned(0, epoch, 0, [STEP, TASK, BRANCH], [])
    newer = LearnedRow("p", "a", "t", 20.0, {"typical_s": 0.7})
    assert journal.keep_learned(0, epoch, 0, [newer], [])
    assert sorted(stored(journal).rows, key=lambda row: row.key) == [TASK, BRANCH, newer]


def test_kinds_that_are_gone_are_deleted(journal: SqlJournal, epoch: int) -> None:
    journal.keep_learned(0, epoch, 0, [STEP, TASK, BRANCH], [])
    journal.keep_learned(
        0, epoch, 0, [], [STEP.key, ("never", "stored", "")] + [("p", str(no), "t") for no in range(600)]
    )
    assert {row.key for row in stored(journal).rows} == {TASK.key, BRANCH.key}


def test_only_who_holds_the_shard_may_keep(journal: SqlJournal, epoch: int) -> None:
    with pytest.raises(Fenced):
        journal.keep_learned(0, epoch - 1, 0, [STEP], [])
    assert stored(journal).rows == []


def test_a_shard_begins_with_what_another_learned_and_goes_on_with_its_own(journal: SqlJournal, epoch: int) -> None:
    other = journal.acquire(1, "other", 60.0)
    assert other is not None
    journal.keep_learned(0, epoch, 0, [STEP, TASK], [])
    own = LearnedRow("p", "a", "t", 5.0, {"typical_s": 9.0})
    journal.keep_learned(1, other, 0, [own], [])
    assert as_set(stored(journal, 1)) == {(own.key, 5.0), (TASK.key, 10.0)}
    assert as_set(stored(journal, 0)) == {(STEP.key, 10.0), (TASK.key, 10.0)}
    assert len(every_row(journal.database)) == 3


@pytest.mark.parametrize(
    ("plan", "task", "left"),
    [
        ("p", None, {TASK.key}),
        (None, "t", {BRANCH.key}),
        ("p", "t", {TASK.key, BRANCH.key}),
        ("q", None, {STEP.key, TASK.key, BRANCH.key}),
        (None, None, set()),
    ],
)
def test_a_reset_forgets_what_was_chosen(
    journal: SqlJournal, epoch: int, plan: str | None, task: str | None, left: set[tuple[str, str, str]]
) -> None:
    journal.keep_learned(0, epoch, 0, [STEP, TASK, BRANCH], [])
    assert reset(journal.database, plan, task) == 3 - len(left)
    found = journal.learned(0, 0)
    assert found is not None
    assert found.generation == 1
    assert {row.key for row in found.rows} == left


def test_what_was_in_memory_at_a_reset_is_not_stored_again(journal: SqlJournal, epoch: int) -> None:
    journal.keep_learned(0, epoch, 0, [STEP], [])
    reset(journal.database, None, None)
    assert not journal.keep_learned(0, epoch, 0, [STEP, TASK], [])
    assert stored(journal) == Learned(1, [])
    assert journal.keep_learned(0, epoch, 1, [TASK], [])
