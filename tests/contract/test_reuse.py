"""What a retry takes over from the run before it."""

from __future__ import annotations

from engine.api.rerun import reusable
from engine.scheduling.records import (
    NodeFinished,
    NodeState,
    RunChanged,
    RunState,
    StepExpanded,
    StepFinished,
    StepState,
)
from engine.store.audit import audit
from engine.store.journal import SqlJournal
from engine.store.reuse import Reuse
from engine.store.runs import RunStore
from engine.wire import Outcome
from tests.contract.samples import NOW, PLAN, dispatched, ended, new_run, node_done


def half_failed(journal: SqlJournal, epoch: int, run_id: str) -> None:
    """``find`` succeeded, item 1 of ``inspect`` failed, so ``report`` was skipped and the run failed."""
    journal.commit(
        0,
        epoch,
        [
            RunChanged(run_id, RunState.RUNNING, "taken up", NOW),
            StepExpanded(run_id, 0, 1, NOW),
            *node_done(run_id, 0),
            StepFinished(run_id, 0, StepState.SUCCEEDED, "", NOW + 2, succeeded=1),
            StepExpanded(run_id, 1, 3, NOW + 3),
            *node_done(run_id, 1, 0, at=NOW + 3),
            *node_done(run_id, 1, 2, at=NOW + 3),
            dispatched(run_id, 1, 1, at=NOW + 3),
            ended(run_id, 1, 1, outcome=Outcome.FAILED, at=NOW + 5),
            NodeFinished(run_id, 1, 1, NodeState.FAILED, 1, NOW + 5, reason="it broke"),
            StepFinished(run_id, 1, StepState.FAILED, "1 of 3 failed", NOW + 6, succeeded=2, failed=1),
            StepFinished(run_id, 2, StepState.SKIPPED, "join all cannot hold", NOW + 6),
            RunChanged(run_id, RunState.FAILED, "failed: inspect", NOW + 6, partial=True),
        ],
    )


def test_a_retry_keeps_what_succeeded_and_runs_the_rest(
    journal: SqlJournal, epoch: int, runs: RunStore, run_id: str
) -> None:
    half_failed(journal, epoch, run_id)
    reuse = reusable(run_id, PLAN, runs.steps(run_id))
    assert reuse == Reuse(run_id, whole=(0,), succeeded_nodes=(1,))

    retried, _ = runs.submit(new_run(reuse=reuse))

    snapshot = journal.load(retried)
    assert [(step.step_no, step.state, step.count) for step in snapshot.steps] == [
        (0, StepState.SUCCEEDED, 1),
        (1, StepState.RUNNING, 3),
    ]
    assert sorted(snapshot.nodes) == [
        (0, 0, NodeState.SUCCEEDED),
        (1, 0, NodeState.SUCCEEDED),
        (1, 2, NodeState.SUCCEEDED),
    ]
    assert journal.results(retried, 1) == journal.results(run_id, 1)
    assert audit(runs.database, retried) == []


def test_the_earlier_run_stays_as_it_was(journal: SqlJournal, epoch: int, runs: RunStore, run_id: str) -> None:
    half_failed(journal, epoch, run_id)
    before = (runs.get(run_id), runs.steps(run_id), runs.nodes(run_id, 1))
    runs.submit(new_run(reuse=reusable(run_id, PLAN, runs.steps(run_id))))
    assert (runs.get(run_id), runs.steps(run_id), runs.nodes(run_id, 1)) == before


def test_a_step_named_to_run_again_takes_all_below_it_along(
    journal: SqlJournal, epoch: int, runs: RunStore, run_id: str
) -> None:
    half_failed(journal, epoch, run_id)
    assert reusable(run_id, PLAN, runs.steps(run_id), again=[0]) == Reuse(run_id, whole=(), succeeded_nodes=())
