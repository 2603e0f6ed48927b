"""What a watcher asks now and then: how fast nodes end, and what came of the runs below a run."""

from __future__ import annotations

from sqlalchemy import update

from engine.scheduling.records import (
    NodesSkipped,
    NodeState,
    RunChanged,
    RunState,
    StepExpanded,
    StepFinished,
    StepState,
)
from engine.store.columns import NODE, RUN
from engine.store.journal import SqlJournal
from engine.store.runs import RunStore
from engine.store.views import Below
from tests.contract.samples import NOW, new_run, node_done


def begin(journal: SqlJournal, epoch: int, run_id: str) -> None:
    """``find`` has ended, and five nodes of ``inspect``."""
    journal.commit(0, epoch, [
        RunChanged(run_id, RunState.RUNNING, "", NOW),
        StepExpanded(run_id, 0, 1, NOW),
        *node_done(run_id, 0),
        StepFinished(run_id, 0, StepState.SUCCEEDED, "", NOW, succeeded=1),
        StepExpanded(run_id, 1, 9, NOW),
        *(record for item in range(3) for record in node_done(run_id, 1, item, at=NOW + 100 * item)),
        NodesSkipped(run_id, 1, (3,), NodeState.SKIPPED, NOW + 202, "its condition is false"),
        *node_done(run_id, 1, 4),
    ])  # fmt: skip


def test_a_pace_counts_what_ended_in_each_window(runs: RunStore, journal: SqlJournal, epoch: int, run_id: str) -> None:
    begin(journal, epoch, run_id)
    found = runs.paces(run_id, NOW + 202)
    assert list(found) == [1], "only steps that run"
    assert (found[1].since, found[1].last_ended_at) == (NOW, NOW + 202)
    assert found[1].ended == ((60.0, 2), (300.0, 5), (1800.0, 5))
    later = runs.paces(run_id, NOW + 10_000)[1]
    assert (later.ended, later.last_ended_at) == (((60.0, 0), (300.0, 0), (1800.0, 0)), None)


def test_what_was_taken_over_is_no_pace(runs: RunStore, journal: SqlJournal, epoch: int, run_id: str) -> None:
    begin(journal, epoch, run_id)
    with runs.database.writing("take over, as a rerun does") as connection:
        connection.execute(update(NODE).where(NODE.c.run_id == run_id, NODE.c.item < 2).values(attempt=None))
    assert runs.paces(run_id, NOW + 202)[1].ended == ((60.0, 2), (300.0, 3), (1800.0, 3))


def test_runs_below_are_counted_with_their_nodes_at_any_depth(
    runs: RunStore, journal: SqlJournal, epoch: int, run_id: str
) -> None:
    assert runs.below(run_id) == {}
    child, grandchild, other = (runs.submit(new_run())[0] for _ in range(3))
    with runs.database.writing("make them children") as connection:
        for below, above in ((child, run_id), (grandchild, child), (other, run_id)):
            values = {"parent_run": above, "parent_step_no": 1, "parent_item": 0, "parent_attempt": 1, "round": 0}
            connection.execute(update(RUN).where(RUN.c.id == below).values(values))
    begin(journal, epoch, child)
    begin(journal, epoch, grandchild)
    journal.commit(0, epoch, [
        StepFinished(grandchild, 1, StepState.CANCELLED, "", NOW, succeeded=4, skipped=1),
        RunChanged(grandchild, RunState.CANCELLED, "", NOW),
    ])  # fmt: skip
    assert runs.below(run_id) == {
        1: Below(runs=3, runs_ended=1, nodes=20, succeeded=10, skipped=2, cancelled=4)
    }  # fmt: skip
    assert runs.below(run_id)[1].done == 16
