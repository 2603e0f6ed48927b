"""The auditor finds nothing in a run that went well, and each thing that was made wrong."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from engine.errors import NotFound
from engine.scheduling.records import (
    NodeFinished,
    NodeState,
    PermitsGone,
    Record,
    RunChanged,
    RunState,
    StepExpanded,
    StepFinished,
    StepState,
)
from engine.store.journal import SqlJournal
from engine.store.reuse import Reuse
from engine.store.runs import RunStore
from engine.wire import ErrorInfo, Outcome
from tests.contract.samples import NOW, dispatched, ended, new_run, node_done

FAILED_TRY = ErrorInfo("ValueError", "bad")


def good_run(run_id: str) -> list[Record]:
    """A whole run: three items, one of which is tried again by its worker, then dispatched again."""
    inspect = [record for item in (0, 1) for record in node_done(run_id, 1, item, at=NOW + 10)]
    return [
        RunChanged(run_id, RunState.RUNNING, "", NOW),
        StepExpanded(run_id, 0, 1, NOW),
        *node_done(run_id, 0, at=NOW),
        StepFinished(run_id, 0, StepState.SUCCEEDED, "", NOW + 2, succeeded=1),
        StepExpanded(run_id, 1, 3, NOW + 2),
        *inspect,
        dispatched(run_id, 1, 2, 1, NOW + 10),
        ended(run_id, 1, 2, 1, Outcome.FAILED, at=NOW + 12, error=FAILED_TRY, repeated=True),
        ended(run_id, 1, 2, 2, Outcome.LOST, at=NOW + 14),
        dispatched(run_id, 1, 2, 3, NOW + 15),
        ended(run_id, 1, 2, 3, at=NOW + 17),
        NodeFinished(run_id, 1, 2, NodeState.SUCCEEDED, 3, NOW + 17, '{"v":2}'),
        StepFinished(run_id, 1, StepState.SUCCEEDED, "", NOW + 17, succeeded=3),
        StepExpanded(run_id, 2, 1, NOW + 17),
        *node_done(run_id, 2, at=NOW + 18),
        StepFinished(run_id, 2, StepState.SUCCEEDED, "", NOW + 20, succeeded=1),
        RunChanged(run_id, RunState.SUCCEEDED, "complete", NOW + 20, outputs='{"v":1}'),
    ]


@pytest.fixture
def finished(journal: SqlJournal, epoch: int, run_id: str) -> str:
    journal.commit(0, epoch, good_run(run_id))
    return run_id


def test_a_good_run_is_clean_at_every_moment(journal: SqlJournal, epoch: int, runs: RunStore, run_id: str) -> None:
    for record in good_run(run_id):
        journal.commit(0, epoch, [record])
        if not isinstance(record, NodeFinished) and not getattr(record, "outcome", None):
            assert runs.audit(run_id, losses_max=3) == []
    assert runs.audit("@last") == []


@pytest.mark.parametrize(
    ("invariant", "damage"),
    [
        ("I1", "UPDATE step SET state = 'running' WHERE step_no = 2"),
        ("I1", "DELETE FROM node WHERE step_no = 1 AND item = 1"),
        ("I1", "UPDATE step SET count = 2 WHERE step_no = 1"),
        ("I1", "UPDATE step SET state = 'failed' WHERE step_no = 1"),
        ("I2", "UPDATE attempt SET outcome = 'failed' WHERE step_no = 1 AND item = 0"),
        ("I2", "UPDATE attempt SET outcome = 'ok' WHERE step_no = 1 AND item = 2"),
        ("I2", "UPDATE node SET attempt = 7 WHERE step_no = 1 AND item = 0"),
        ("I2", "UPDATE node SET attempt = NULL WHERE step_no = 0"),
        ("I2", "DELETE FROM attempt WHERE step_no = 1 AND item = 0"),
        ("I2", "UPDATE node SET state = 'failed' WHERE step_no = 0"),
        ("I2", "DELETE FROM node WHERE step_no = 0"),
        ("I3", "UPDATE attempt SET dispatched_at = dispatched_at - 9 WHERE step_no = 1 AND item = 0"),
        ("I3", "UPDATE step SET finished_at = finished_at + 0.001 WHERE step_no = 1"),
        ("I3", "UPDATE step SET finished_at = NULL WHERE step_no = 0"),
        ("I4", "UPDATE step SET succeeded = 2, failed = 1 WHERE step_no = 1"),
        ("I5", "UPDATE step SET attempts_max = 1 WHERE step_no = 1"),
        ("I6", "UPDATE attempt SET dispatched_at = NULL WHERE step_no = 2"),
        ("I7", "UPDATE run SET permits_gone_at = started_at + 18.5"),
        ("I8", "UPDATE attempt SET kind = 'speculative'"),
        ("I10", "UPDATE run SET finished_at = NULL"),
        ("I10", "UPDATE run SET outputs = NULL"),
        ("I10", "UPDATE run SET state = 'failed', reason = ''"),
    ],
)
def test_what_was_made_wrong_is_found(runs: RunStore, finished: str, invariant: str, damage: str) -> None:
    with runs.database.writing("damage") as connection:
        assert connection.execute(text(damage)).rowcount >= 1
    found = runs.audit(finished)
    assert invariant in {finding.invariant for finding in found}
    assert all(finding.rows and finding.message for finding in found)


def test_more_losses_than_allowed_are_found(runs: RunStore, finished: str) -> None:
    assert [finding.invariant for finding in runs.audit(finished, losses_max=0)] == ["I5"]


def test_a_cancelled_run_is_clean_with_nodes_that_have_no_row(
    journal: SqlJournal, epoch: int, runs: RunStore, run_id: str
) -> None:
    journal.commit(0, epoch, [
        StepExpanded(run_id, 0, 5, NOW),
        *node_done(run_id, 0, 0),
        dispatched(run_id, 0, 1),
        PermitsGone(run_id, NOW + 3),
        ended(run_id, 0, 1, 1, Outcome.CANCELLED, at=NOW + 4),
        NodeFinished(run_id, 0, 1, NodeState.CANCELLED, 1, NOW + 4),
        StepFinished(run_id, 0, StepState.CANCELLED, "cancelled", NOW + 4, succeeded=1),
        StepFinished(run_id, 1, StepState.CANCELLED, "cancelled", NOW + 4),
        StepFinished(run_id, 2, StepState.CANCELLED, "cancelled", NOW + 4),
        RunChanged(run_id, RunState.CANCELLED, "cancelled by an operator", NOW + 4),
    ])  # fmt: skip
    assert [f for f in runs.audit(run_id) if f.invariant != "I7"] == []


def test_a_run_that_took_results_over_is_clean(journal: SqlJournal, epoch: int, runs: RunStore, finished: str) -> None:
    again = new_run(reuse=Reuse(finished, whole={0: 0}, succeeded_nodes={1: 1}))
    runs.submit(again)
    assert runs.audit(again.id) == []
    snapshot = journal.load(again.id)
    assert [(step.step_no, step.state, step.count) for step in snapshot.steps] == [
        (0, StepState.SUCCEEDED, 1),
        (1, StepState.RUNNING, 3),
    ]
    assert journal.results(again.id, 1) == journal.results(finished, 1)
    assert snapshot.attempts == []


def test_a_run_that_does_not_exist_cannot_be_audited(runs: RunStore) -> None:
    with pytest.raises(NotFound):
        runs.audit("r_none")
