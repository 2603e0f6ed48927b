"""What earlier runs of a plan cost, step by step, with the runs below each step."""

from __future__ import annotations

from dataclasses import replace

from engine.scheduling.records import RunChanged, RunState, StepFinished, StepState
from engine.scheduling.snapshot import ChildOf
from engine.store.earlier import StepCost, earlier_runs
from engine.store.journal import SqlJournal
from engine.store.runs import RunStore
from tests.contract.samples import NOW, new_run
from tests.contract.test_ledger import ENTRY, note


def finish(journal: SqlJournal, epoch: int, run_id: str, state: RunState = RunState.SUCCEEDED) -> None:
    journal.commit(0, epoch, [
        StepFinished(run_id, 1, StepState.SUCCEEDED, "", NOW, succeeded=3, failed=1),
        RunChanged(run_id, state, "", NOW),
    ])  # fmt: skip


def test_each_step_costs_what_its_nodes_and_the_runs_below_it_cost(
    runs: RunStore, journal: SqlJournal, epoch: int
) -> None:
    old, new, cancelled, running = (runs.submit(new_run())[0] for _ in range(4))
    child, _ = runs.submit(new_run(parent=ChildOf(new, 1, 0, 1)))
    grandchild, _ = runs.submit(new_run(parent=ChildOf(child, 2, 0, 1)))
    for run_id in (new, child, grandchild, cancelled, running):
        journal.commit(0, epoch, [note(run_id, ENTRY, replace(ENTRY, id="e2", cost_nusd=10))])
    finish(journal, epoch, old, RunState.FAILED)
    finish(journal, epoch, new)
    finish(journal, epoch, cancelled, RunState.CANCELLED)

    newest, oldest = earlier_runs(journal.database, "audit")
    assert (newest.run_id, newest.entries) == (new, True)
    assert newest.steps["inspect"] == StepCost("python.call", nodes=4, cost_nusd=3 * 1010)
    assert newest.steps["find"] == StepCost("files.find", nodes=0, cost_nusd=0)
    assert (oldest.run_id, oldest.entries, oldest.steps["inspect"].cost_nusd) == (old, False, 0)
    assert [run.run_id for run in earlier_runs(journal.database, "audit", limit=1)] == [new]
    assert earlier_runs(journal.database, "other") == []
