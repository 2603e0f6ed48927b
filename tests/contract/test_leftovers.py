"""Batches that nobody waits for any more are looked for one by one: a run's trouble is its own."""

from __future__ import annotations

from sqlalchemy import update

from engine.costs.entry import BATCH, Entry
from engine.dag.compile import compile_plan
from engine.ids import ending_run_id
from engine.plan.model import Plan, plan_data
from engine.runtime.assembly import StoredPlans
from engine.runtime.leftovers import Leftovers
from engine.scheduling.records import Noted, RunChanged, RunState
from engine.store.columns import PLAN_VERSION
from engine.store.journal import SqlJournal
from engine.store.runs import RunStore
from tests.contract.samples import NOW, new_run

DAY_S = 86_400.0


def batch_of(journal: SqlJournal, runs: RunStore, epoch: int, name: str, state: RunState) -> str:
    """The entry of a batch that the only step of an ended run made."""
    plan = Plan.model_validate({"name": name, "steps": {"submit": {"task": "llm.batch_submit"}}})
    run_id = runs.submit(new_run(plan=compile_plan(plan, None), plan_source=plan_data(plan)))[0]
    entry = Entry(id=f"{BATCH}{name}", kind="model", name="simulated/small", at=NOW, settled=False)
    noted = Noted(run_id, 0, 0, 1, (("ledger", entry.to_json()),))
    journal.commit(0, epoch, [noted, RunChanged(run_id, state, "over", NOW)])
    return run_id


def test_a_batch_whose_plan_holds_no_more_keeps_no_other_from_being_paid(
    journal: SqlJournal, runs: RunStore, epoch: int
) -> None:
    failed = batch_of(journal, runs, epoch, "first", RunState.FAILED)
    kept = batch_of(journal, runs, epoch, "second", RunState.SUCCEEDED)
    last = batch_of(journal, runs, epoch, "third", RunState.CANCELLED)
    with journal.database.writing("tests") as connection:
        connection.execute(update(PLAN_VERSION).where(PLAN_VERSION.c.name != "third").values(source='{"name": "X"}'))
    looked = Leftovers(journal.database, StoredPlans(journal).compiled, lambda: NOW + 60.0)
    ending = {run: ending_run_id(run, f"{BATCH}{name}") for run, name in [(failed, "first"), (last, "third")]}
    assert sorted(looked.look()) == sorted(ending.values())
    assert looked.look() == [], "what succeeded may still be collected, as far as is known"
    much_later = Leftovers(journal.database, StoredPlans(journal).compiled, lambda: NOW + 2 * DAY_S)
    assert much_later.look() == [ending_run_id(kept, f"{BATCH}second")]
