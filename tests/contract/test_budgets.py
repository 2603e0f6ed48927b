"""What budgets are counted anew from: the ledger's sums, attempts that are out, and runs that ask."""

from __future__ import annotations

from engine.costs.entry import Entry
from engine.costs.usage import Usage
from engine.dag.compiled import CompiledPlan
from engine.scheduling.records import (
    CEILING,
    AttemptEnded,
    AttemptKind,
    Begun,
    BudgetChanged,
    Dispatched,
    Noted,
    RunChanged,
    RunState,
)
from engine.scheduling.snapshot import ChildOf, NewChild, RunRow
from engine.store.approvals import waiting
from engine.store.budgets import BudgetBooks, Out
from engine.store.journal import SqlJournal
from engine.store.runs import RunStore
from engine.wire import Outcome

AT = 1_700_000_000.0


def call(number: int, cost_nusd: int = 5_000_000_000) -> tuple[str, dict[str, object]]:
    usage = Usage(input=100, output=10)
    entry = Entry(f"c{number}", "model", "m/m", usage=usage, cost_nusd=cost_nusd, at=AT + number, call_s=1.5)
    return ("ledger", entry.to_json())


def test_sums_are_of_steps_sessions_and_times(journal: SqlJournal, runs: RunStore, epoch: int, run_id: str) -> None:
    journal.commit(0, epoch, [Noted(run_id, 1, 0, 1, (call(0), call(1))), Noted(run_id, 2, 0, 1, (call(2),))])
    books = BudgetBooks(journal.database)
    assert sorted(books.by_step()) == [
        (run_id, 1, (10_000_000_000, 220, 2, 3000)), (run_id, 2, (5_000_000_000, 110, 1, 1500)),
    ]  # fmt: skip
    run = runs.get(run_id)
    assert books.by_session() == [(run.tenant, run.session, (15_000_000_000, 330, 3, 4500))]
    assert books.by_session(AT + 2) == [(run.tenant, run.session, (5_000_000_000, 110, 1, 1500))]
    assert books.stored(["c1", "c9"]) == {"c1"}
    journal.commit(0, epoch, [RunChanged(run_id, RunState.FAILED, "failed", AT)])
    assert books.by_step() == []
    assert len(books.by_session()) == 1


def test_what_runs_below_spent_counts_as_long_as_the_run_above_lives(
    journal: SqlJournal, runs: RunStore, epoch: int, run_id: str
) -> None:
    row = runs.get(run_id)
    for name, above in (("below", run_id), ("lowest", "below")):
        child = RunRow(
            name, row.tenant, row.session, row.plan_name, row.plan_version, '{"v":{}}', 0, RunState.PENDING, "", AT,
            parent=ChildOf(above, 1, 0, 1),
        )  # fmt: skip
        journal.start_children(0, epoch, [NewChild(child, CompiledPlan("p", row.plan_version, ()), {})])
    journal.commit(0, epoch, [
        Noted("lowest", 1, 0, 1, (call(0),)),
        RunChanged("lowest", RunState.SUCCEEDED, "complete", AT),
        RunChanged("below", RunState.SUCCEEDED, "complete", AT),
    ])  # fmt: skip
    books = BudgetBooks(journal.database)
    assert books.above() == {run_id: None, "below": run_id, "lowest": "below"}
    assert books.by_step() == [("lowest", 1, (5_000_000_000, 110, 1, 1500))]
    journal.commit(0, epoch, [RunChanged(run_id, RunState.SUCCEEDED, "complete", AT)])
    assert (books.above(), books.by_step()) == ({}, [])


def test_attempts_that_are_out_are_known_with_their_ceiling(
    journal: SqlJournal, runs: RunStore, epoch: int, run_id: str
) -> None:
    kind = AttemptKind.PRIMARY
    journal.commit(0, epoch, [
        Dispatched(run_id, 1, 0, 1, kind, "io", AT, ceiling_nusd=7),
        Dispatched(run_id, 1, 1, 1, kind, "io", AT, ceiling_nusd=7),
        Dispatched(run_id, 0, 0, 1, kind, "io", AT),
        Begun(run_id, 1, 1, 1, "w", AT),
    ])  # fmt: skip
    books, run = BudgetBooks(journal.database), runs.get(run_id)
    assert sorted(books.out(), key=lambda each: each.item) == [
        Out(run_id, 1, 0, 1, run.tenant, run.session, 7, begun=False),
        Out(run_id, 1, 1, 1, run.tenant, run.session, 7, begun=True),
    ]
    journal.commit(0, epoch, [
        Noted(run_id, 1, 0, 1, (call(0),)),
        AttemptEnded(run_id, 1, 0, 1, Outcome.LOST, AT),
        AttemptEnded(run_id, 1, 1, 1, Outcome.LOST, AT),
    ])  # fmt: skip
    first, second = (run_id, 1, 0, 1), (run_id, 1, 1, 1)
    assert books.ended([first, second, (run_id, 0, 0, 1)]) == {
        first: ((5_000_000_000, 110, 1, 1500), True), second: ((0, 0, 0, 0), False),
    }  # fmt: skip
    assert books.out() == []


def test_what_was_decided_of_a_budget_outlives_its_scheduler(journal: SqlJournal, epoch: int, run_id: str) -> None:
    asked = {"at": AT, "until": None, "why": "the budget of run r is used up"}
    journal.commit(0, epoch, [BudgetChanged(run_id, {"asked": asked, "max_nusd": 5})])
    assert journal.load(run_id).run.budget == {"asked": asked, "max_nusd": 5}
    [found] = waiting(journal.database)
    assert (found.run_id, found.data(AT + 5)["why"], found.data(AT + 5)["age_s"]) == (run_id, asked["why"], 5.0)
    journal.commit(0, epoch, [BudgetChanged(run_id, {"max_nusd": 5})])
    assert waiting(journal.database) == []


def test_the_ceiling_that_an_attempt_tells_before_it_spends_is_stored_with_it(
    journal: SqlJournal, runs: RunStore, epoch: int, run_id: str
) -> None:
    books, run = BudgetBooks(journal.database), runs.get(run_id)
    assert not books.any_out()
    journal.commit(0, epoch, [Dispatched(run_id, 1, 0, 1, AttemptKind.PRIMARY, "io", AT)])
    assert (books.out(), books.any_out()) == ([], True)
    said = Noted(run_id, 1, 0, 1, ((CEILING, {"nusd": 9}),))
    journal.commit(0, epoch, [Begun(run_id, 1, 0, 1, "w", AT), said])
    journal.commit(0, epoch, [said])
    assert books.out() == [Out(run_id, 1, 0, 1, run.tenant, run.session, 9, begun=True)]
    journal.commit(0, epoch, [AttemptEnded(run_id, 1, 0, 1, Outcome.OK, AT)])
    assert (books.out(), books.any_out()) == ([], False)


def test_runs_that_go_on_are_told_from_those_that_are_over(
    journal: SqlJournal, runs: RunStore, epoch: int, run_id: str
) -> None:
    books = BudgetBooks(journal.database)
    assert books.going([run_id, "r_deleted"]) == {run_id}
    journal.commit(0, epoch, [RunChanged(run_id, RunState.FAILED, "failed", AT)])
    assert books.going([run_id]) == set()
