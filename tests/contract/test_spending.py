"""Sums over a run and all below it, from the ledger, the attempts and the decisions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.cli.allowed import budget_lines, budget_row
from engine.cli.paid import cost_row
from engine.costs.usage import Usage
from engine.errors import NotFound
from engine.scheduling.records import (
    AttemptEnded,
    AttemptKind,
    BudgetChanged,
    Decision,
    Dispatched,
    Duplicate,
    NodeFinished,
    NodeState,
    RunChanged,
    RunState,
)
from engine.scheduling.snapshot import ChildOf
from engine.store.hedged import Hedged
from engine.store.journal import SqlJournal
from engine.store.runs import RunStore
from engine.store.spending import Paid, Scope, Spread, paid, spending
from engine.wire import Outcome
from tests.contract.samples import NOW, dispatched, ended, new_run, node_done
from tests.contract.test_ledger import ENTRY, note


@pytest.fixture
def parent(runs: RunStore, journal: SqlJournal, epoch: int) -> str:
    """A run with one call of its own and one of a run that stands for its node ``inspect[3]``."""
    run_id, _ = runs.submit(new_run(tenant="a"))
    child, _ = runs.submit(new_run(tenant="a", parent=ChildOf(run_id, 1, 3, 1)))
    journal.commit(0, epoch, [note(run_id, ENTRY), note(child, replace(ENTRY, id="e2", settled=False))])
    return run_id


def test_calls_of_runs_below_count_as_the_run_s(parent: str, journal: SqlJournal) -> None:
    assert paid(journal.database, parent) == Paid(2000, 100, calls=2, hits=0, not_settled=1)
    found = spending(journal.database, Scope(run=parent))
    assert (found.runs, found.runs_below) == (1, 1)
    assert sum((each.usage for each in found.calls), Usage()) == Usage(20, 40, 0, 0, 10, 2)
    (settled,) = (each for each in found.calls if each.settled)
    assert (settled.task, settled.skill, settled.phase, settled.attempt_kind) == (
        "python.call",
        "python.call",
        "execution",
        "primary",
    )
    assert (settled.looked, settled.cited_of, settled.cited, settled.scored, settled.score_sum) == (1, 30, 12, 1, 0.5)


def test_a_run_s_budget_is_told_with_what_is_left_and_how_to_answer(
    parent: str, runs: RunStore, journal: SqlJournal, epoch: int
) -> None:
    paid_now = cost_row(runs, parent)
    assert budget_row(runs, parent, paid_now) is None, "it has none"
    asked = {"at": NOW, "why": "too dear"}
    journal.commit(0, epoch, [BudgetChanged(parent, {"max_nusd": 5000, "asked": asked})])
    row = budget_row(runs, parent, paid_now)
    assert row is not None
    assert (row["max_usd"], row["spent_usd"], row["left_usd"], row["asked"]) == (5e-06, 2e-06, 3e-06, "too dear")
    lines = budget_lines(parent, row)
    assert lines[0].startswith("budget ")
    assert lines[1].startswith("waits    ") and lines[1].endswith("without a limit of time")
    assert lines[2] == f"approve  flywheel approvals approve {parent} [--max-usd USD]"


def test_a_report_is_of_the_runs_that_went_on_then_and_perhaps_only_some(
    parent: str, runs: RunStore, journal: SqlJournal, epoch: int
) -> None:
    other, _ = runs.submit(new_run(tenant="b", session="s"))
    late = replace(ENTRY, id="late", at=NOW + 10_000)
    journal.commit(0, epoch, [note(other, ENTRY, late), RunChanged(parent, RunState.SUCCEEDED, "", NOW + 100)])

    def entries(**scope: object) -> int:
        return sum(each.entries for each in spending(journal.database, Scope(**scope)).calls)  # type: ignore[arg-type]

    assert entries(since=0.0) == 4
    assert entries(since=NOW + 5_000) == 1
    assert [entries(tenant="a"), entries(session="s"), entries(plan="audit"), entries(plan="no")] == [2, 2, 4, 0]
    assert entries(run=other) == 2
    with pytest.raises(NotFound):
        entries(run="r_nobody")


def test_attempts_tell_what_began_won_and_how_long_bodies_took(run_id: str, journal: SqlJournal, epoch: int) -> None:
    hedge = Dispatched(run_id, 1, 0, 2, AttemptKind.HEDGE, "io", NOW)
    journal.commit(0, epoch, [
        dispatched(run_id, 1), hedge, ended(run_id, 1, 0, 2, at=NOW + 4), dispatched(run_id, 1, 1),
        NodeFinished(run_id, 1, 0, NodeState.SUCCEEDED, 2, NOW + 4, "1"),
        ended(run_id, 1, 0, 1, Outcome.CANCELLED, at=NOW + 5),
        *node_done(run_id, 0),
        Duplicate(run_id, 1, 0, 1, Outcome.OK, "w1", NOW + 9, NOW + 1, NOW + 8),
    ])  # fmt: skip
    found = spending(journal.database, Scope(run=run_id))
    told = {(each.task, each.kind): (each.attempts, each.begun, each.won, each.body_s) for each in found.tries}
    assert told == {
        ("files.find", "primary"): (1, 1, 1, 1.0),
        ("python.call", "hedge"): (1, 1, 1, 1.0),
        ("python.call", "primary"): (2, 1, 0, 1.0),
    }
    assert (found.duplicates, found.duplicate_s) == (1, 7.0)
    assert found.hedged == Hedged(won=1, stopped=0, saved_s=4.0, wasted_s=4.0), "it ran to its end, and that was seen"


def test_what_a_copy_won_over_a_body_that_was_stopped_is_a_lower_bound(
    run_id: str, journal: SqlJournal, epoch: int
) -> None:
    copies = [Dispatched(run_id, 1, item, 2, AttemptKind.HEDGE, "io", NOW) for item in (0, 1)]
    stopped = Duplicate(run_id, 1, 0, 1, Outcome.CANCELLED, "w1", NOW + 9, NOW + 1, NOW + 6)
    journal.commit(0, epoch, [
        dispatched(run_id, 1), dispatched(run_id, 1, 1), *copies,
        ended(run_id, 1, 0, 2, at=NOW + 4), NodeFinished(run_id, 1, 0, NodeState.SUCCEEDED, 2, NOW + 4, "1"),
        ended(run_id, 1, 0, 1, Outcome.CANCELLED, at=NOW + 4.5), stopped,
        ended(run_id, 1, 1, 1, at=NOW + 3), NodeFinished(run_id, 1, 1, NodeState.SUCCEEDED, 1, NOW + 3, "1"),
        ended(run_id, 1, 1, 2, Outcome.CANCELLED, at=NOW + 3),
    ])  # fmt: skip
    found = spending(journal.database, Scope(run=run_id)).hedged
    assert (found.won, found.stopped, found.saved_s) == (1, 1, 2.0)
    assert found.wasted_s == 2.5 + 1.0, "the one that was overtaken, and the copy that came second"


def test_what_is_reported_together_is_coordinated_once(run_id: str, journal: SqlJournal, epoch: int) -> None:
    ends = {item: NOW + 1 + item / 10 for item in range(10)}
    ok = Outcome.OK
    journal.commit(
        0, epoch, [AttemptEnded(run_id, 1, item, 1, ok, NOW + 3, None, "w1", NOW, at) for item, at in ends.items()]
    )
    (told,) = spending(journal.database, Scope(run=run_id)).coordination
    assert (told.task, told.seconds) == ("python.call", pytest.approx(1.1))


def test_latency_is_told_by_phase_and_part(run_id: str, journal: SqlJournal, epoch: int) -> None:
    for number in range(1, 101):
        call = replace(ENTRY, id=f"e{number}", call_s=float(number), first_token_s=None)
        journal.commit(0, epoch, [note(run_id, call)])
    journal.commit(0, epoch, [dispatched(run_id, 1, at=NOW - 3), ended(run_id, 1)])
    latency = spending(journal.database, Scope(run=run_id)).latency
    assert latency["execution", "call"] == Spread(100, 51.0, 95.0)
    assert latency["execution", "queue"] == Spread(1, 4.0, 4.0)
    assert ("execution", "first_token") not in latency


def test_what_bets_won_and_lost_is_summed_up(run_id: str, journal: SqlJournal, epoch: int) -> None:
    journal.commit(0, epoch, [
        Decision(run_id, "speculate", "adopted", NOW, 1, 0, {"saved_s": 2.0}),
        Decision(run_id, "speculate", "dropped", NOW, 1, 0, {"wasted_s": 1.0, "wasted_usd": 0.5}),
        Decision(run_id, "prefetch", "used", NOW, 1, 0, {"saved_s": 3.0}),
        Decision(run_id, "prefetch", "1 of 1 was used", NOW, figures={"saved_s": 3.0}),
        Decision(run_id, "hold", "x", NOW, 1, None, {"saved_s": 9.0}),
    ])  # fmt: skip
    bets = spending(journal.database, Scope(run=run_id)).bets
    assert bets == {
        "speculate": {"saved_s": 2.0, "wasted_s": 1.0, "wasted_usd": 0.5},
        "prefetch": {"saved_s": 3.0},
    }
