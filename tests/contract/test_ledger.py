"""The ledger: one row for each entry however often it is told, sums that outlast the run, totals over the tree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.artefacts.store import ArtefactStore
from engine.costs.entry import Entry
from engine.costs.usage import Usage
from engine.scheduling.records import Noted, RunChanged, RunState
from engine.store.engines import Database
from engine.store.journal import SqlJournal
from engine.store.ledger import Spent, entries, spent, spent_by_deleted
from engine.store.runs import RunStore
from tests.contract.samples import NOW, new_run

ENTRY = Entry(
    id="e1", kind="model", name="openai/gpt-5.4", provider="openai", purpose="answer", usage=Usage(10, 20, 0, 0, 5, 1),
    cost_nusd=1000, saved_nusd=50, at=NOW, queue_s=0.1, call_s=1.5, first_token_s=0.4, cache="miss",
    context_tokens=30, cited_tokens=12, score=0.5, facts={"finish": "stop\0"},
)  # fmt: skip


def note(run_id: str, *noted: Entry, attempt: int = 1, item: int = 0) -> Noted:
    return Noted(run_id, 1, item, attempt, tuple(("ledger", entry.to_json()) for entry in noted))


def finish(journal: SqlJournal, epoch: int, run_id: str) -> None:
    journal.commit(0, epoch, [RunChanged(run_id, RunState.SUCCEEDED, "complete", NOW)])


def test_an_entry_is_stored_with_its_attempt_and_read_back_as_it_was(
    journal: SqlJournal, epoch: int, run_id: str
) -> None:
    journal.commit(0, epoch, [note(run_id, ENTRY, attempt=2, item=7)])
    (stored,) = entries(journal.database, run_id)
    assert (stored.step_no, stored.item, stored.attempt) == (1, 7, 2)
    assert stored.entry == ENTRY


def test_what_is_told_twice_is_stored_once(journal: SqlJournal, epoch: int, run_id: str) -> None:
    journal.commit(0, epoch, [note(run_id, ENTRY), note(run_id, ENTRY)])
    journal.commit(0, epoch, [note(run_id, ENTRY, attempt=2), note(run_id, replace(ENTRY, id="e2"))])
    assert [(each.entry.id, each.attempt) for each in entries(journal.database, run_id)] == [("e1", 1), ("e2", 1)]


@pytest.mark.parametrize("together", [True, False])
def test_a_known_cost_takes_the_place_of_an_estimate_and_never_the_other_way(
    journal: SqlJournal, epoch: int, run_id: str, together: bool
) -> None:
    guess = replace(ENTRY, cost_nusd=9000, settled=False, outcome="cut")
    late = replace(ENTRY, at=NOW + 86_400)
    records = [note(run_id, guess), note(run_id, late, attempt=2), note(run_id, guess, attempt=3)]
    for some in [records] if together else [[record] for record in records]:
        journal.commit(0, epoch, some)
    (stored,) = entries(journal.database, run_id)
    assert (stored.entry, stored.attempt) == (replace(late, at=NOW), 2)


@pytest.mark.parametrize("wrong", [{"id": "x"}, {"id": "x", "kind": "no", "name": "y"}, {"kind": "tool", "name": "y"}])
def test_a_note_that_is_no_entry_is_left_out_and_holds_up_nothing(
    journal: SqlJournal, epoch: int, run_id: str, wrong: dict[str, Any]
) -> None:
    journal.commit(0, epoch, [Noted(run_id, 1, 0, 1, (("ledger", wrong), ("ledger", ENTRY.to_json())))])
    assert [each.entry.id for each in entries(journal.database, run_id)] == ["e1"]


def test_what_was_spent_is_told_by_time_tenant_and_session(runs: RunStore, journal: SqlJournal, epoch: int) -> None:
    mine, _ = runs.submit(new_run(tenant="a", session="x"))
    theirs, _ = runs.submit(new_run(tenant="b", session="x"))
    hit = replace(ENTRY, id="e3", cache="hit", cost_nusd=0, saved_nusd=1000, usage=Usage())
    journal.commit(0, epoch, [note(mine, ENTRY, replace(ENTRY, id="e2", at=NOW + 3600), hit), note(theirs, ENTRY)])
    database = journal.database
    assert spent(database) == Spent(3, 108, 3000, 1150)
    assert spent(database, tenant="a") == Spent(2, 72, 2000, 1100)
    assert spent(database, NOW + 1, tenant="a", session="x") == Spent(1, 36, 1000, 50)
    assert spent(database, session="y") == Spent()


def test_sums_of_deleted_runs_stay(runs: RunStore, journal: SqlJournal, epoch: int, tmp_path: Path) -> None:
    database: Database = journal.database
    first, second = (runs.submit(new_run(tenant="a"))[0] for _ in range(2))
    for number, run_id in enumerate((first, second)):
        later = replace(ENTRY, id="e2", at=NOW + 3600, cost_nusd=2**40)
        journal.commit(0, epoch, [note(run_id, ENTRY, later, replace(ENTRY, id=f"x{number}"))])
        finish(journal, epoch, run_id)
    before = [spent(database), spent(database, NOW + 1000), spent(database, tenant="b")]
    runs.delete(first)
    assert [spent(database), spent(database, NOW + 1000), spent(database, tenant="b")] == before
    runs.delete(second)
    assert [spent(database), spent(database, NOW + 1000), spent(database, tenant="b")] == before
    assert spent_by_deleted(database, tenant="a") == before[0]
    assert before[0].cost_nusd == 2 * 2**40 + 4000
    runs.delete_tenant("a", ArtefactStore(f"file://{tmp_path}/artefacts"))
    assert spent(database) == Spent()
