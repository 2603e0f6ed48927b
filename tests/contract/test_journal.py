"""The journal's promise: all or nothing, fenced, and no harm in writing a batch twice."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from engine.dag.compiled import CompiledPlan, CompiledStep
from engine.errors import Fenced, NotFound
from engine.runtime.ports import AttemptRow, Journal, StepRow
from engine.scheduling.records import (
    PARTIAL_NODE,
    AttemptKind,
    Begun,
    CommandHandled,
    Decision,
    Duplicate,
    LogLines,
    NodeFinished,
    NodesSkipped,
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
from engine.store.runs import RunStore
from engine.wire import ErrorInfo, Outcome
from tests.contract.samples import NOW, dispatched, ended, new_run, node_done

TABLES = ("run", "step", "node", "attempt", "duplicate", "decision", "log_line", "command")


def rows_of(journal: SqlJournal) -> dict[str, list[tuple[object, ...]]]:
    with journal.database.reading("compare") as connection:
        return {
            name: sorted((tuple(row) for row in connection.execute(text(f"SELECT * FROM {name}"))), key=repr)
            for name in TABLES
        }


def every_record(run_id: str, command_id: int) -> list[Record]:
    """A batch with every kind of record, and several of one thing."""
    return [
        RunChanged(run_id, RunState.RUNNING, "", NOW),
        StepExpanded(run_id, 0, 1, NOW),
        *node_done(run_id, 0),
        StepFinished(run_id, 0, StepState.SUCCEEDED, "", NOW + 2, succeeded=1),
        StepExpanded(run_id, 1, 4, NOW + 2),
        dispatched(run_id, 1, 0, at=NOW + 3),
        Begun(run_id, 1, 0, 1, "w1", NOW + 4),
        LogLines(run_id, 1, 0, 1, ("one", "two\0 and \udc80"), 0.5),
        LogLines(run_id, 1, 0, 1, ("one",)),
        ended(run_id, 1, 0, 1, Outcome.FAILED, error=ErrorInfo("ValueError", "bad \0 text"), retry_at=NOW + 9),
        NodesSkipped(run_id, 1, (1, 2), NodeState.SKIPPED, NOW, "not wanted"),
        Duplicate(run_id, 1, 0, 1, Outcome.OK, "w2", NOW),
        Duplicate(run_id, 1, 0, 1, Outcome.OK, "w2", NOW),
        Decision(run_id, "order", "rank", NOW, 1, None, {"rank_s": 2.5}),
        CommandHandled(command_id, NOW),
        PermitsGone(run_id, NOW + 5),
        RunChanged(run_id, RunState.CANCELLED, "asked to", NOW + 6, partial=True, outputs='{"v":1}'),
    ]


def test_it_is_a_journal(journal: SqlJournal) -> None:
    as_journal: Journal = journal
    assert as_journal.load


def test_writing_the_same_records_again_changes_nothing(
    journal: SqlJournal, epoch: int, runs: RunStore, run_id: str
) -> None:
    batch = every_record(run_id, runs.add_command(run_id, "cancel"))
    journal.commit(0, epoch, batch)
    once = rows_of(journal)
    assert len(once["log_line"]) == 3
    assert len(once["duplicate"]) == 2
    journal.commit(0, epoch, batch)
    journal.commit(0, epoch, batch)
    assert rows_of(journal) == once


def test_a_batch_written_again_with_more_behind_it_adds_only_the_rest(
    journal: SqlJournal, epoch: int, run_id: str
) -> None:
    first: list[Record] = [LogLines(run_id, 0, 0, 1, ("a", "b"))]
    journal.commit(0, epoch, first)
    journal.commit(0, epoch, [*first, LogLines(run_id, 0, 0, 1, ("a",))])
    assert [row[-1] for row in rows_of(journal)["log_line"]] == ["a", "b", "a"]


def test_a_stale_epoch_is_fenced_and_writes_nothing(journal: SqlJournal, epoch: int, run_id: str) -> None:
    before = rows_of(journal)
    for wrong in (epoch - 1, epoch + 1):
        with pytest.raises(Fenced, match="shard 0"):
            journal.commit(0, wrong, node_done(run_id, 0))
    assert rows_of(journal) == before


def test_the_first_final_state_of_a_node_stands(journal: SqlJournal, epoch: int, run_id: str) -> None:
    journal.commit(0, epoch, node_done(run_id, 0))
    journal.commit(0, epoch, [NodeFinished(run_id, 0, 0, NodeState.FAILED, 2, NOW + 9, None, "late")])
    journal.commit(0, epoch, [NodesSkipped(run_id, 0, (0,), NodeState.CANCELLED, NOW + 9)])
    assert journal.load(run_id).nodes == [(0, 0, NodeState.SUCCEEDED)]


def test_steps_with_a_node_that_left_something_undone_are_loaded_as_such(
    journal: SqlJournal, epoch: int, run_id: str
) -> None:
    journal.commit(0, epoch, [
        RunChanged(run_id, RunState.RUNNING, "", NOW, partial=True),
        NodeFinished(run_id, 0, 0, NodeState.SUCCEEDED, 1, NOW, '{"v":1}', PARTIAL_NODE),
        NodeFinished(run_id, 0, 1, NodeState.SUCCEEDED, 1, NOW, '{"v":1}', f"{PARTIAL_NODE}, taken over"),
        NodeFinished(run_id, 1, 0, NodeState.FAILED, 1, NOW, None, f"{PARTIAL_NODE} or not, it failed"),
    ])  # fmt: skip
    assert list(journal.load(run_id).lacking) == [0]


def test_the_last_state_in_a_batch_wins(journal: SqlJournal, epoch: int, runs: RunStore, run_id: str) -> None:
    journal.commit(0, epoch, [
        RunChanged(run_id, RunState.RUNNING, "", NOW),
        StepExpanded(run_id, 0, 1, NOW),
        StepFinished(run_id, 0, StepState.FAILED, "its node failed", NOW + 1, failed=1, tolerated=True),
        RunChanged(run_id, RunState.PAUSED, "asked to", NOW + 2),
    ])  # fmt: skip
    snapshot = journal.load(run_id)
    assert snapshot.run.state is RunState.PAUSED
    assert snapshot.steps == [StepRow(0, StepState.FAILED, 1, "its node failed", True)]
    view = runs.get(run_id)
    assert (view.started_at, view.finished_at) == (NOW, None)


def test_a_run_that_goes_on_after_its_end_has_no_end(
    journal: SqlJournal, epoch: int, runs: RunStore, run_id: str
) -> None:
    journal.commit(0, epoch, [RunChanged(run_id, RunState.FAILED, "broken", NOW + 5)])
    assert runs.get(run_id).finished_at == NOW + 5
    journal.commit(0, epoch, [RunChanged(run_id, RunState.RUNNING, "tried again", NOW + 6)])
    assert runs.get(run_id).finished_at is None


def test_load_gives_the_latest_attempt_of_each_open_node_with_its_sums(
    journal: SqlJournal, epoch: int, run_id: str
) -> None:
    journal.commit(0, epoch, [StepExpanded(run_id, 1, 3, NOW), *node_done(run_id, 1, 0)])
    lost = ended(run_id, 1, 1, 1, Outcome.LOST, at=NOW + 5)
    journal.commit(0, epoch, [dispatched(run_id, 1, 1, 1), lost, dispatched(run_id, 1, 1, 2, NOW + 6)])
    repeated = ended(run_id, 1, 1, 2, Outcome.FAILED, at=NOW + 8, repeated=True)
    journal.commit(0, epoch, [
        repeated,
        ended(run_id, 1, 1, 3, Outcome.TIMED_OUT, at=NOW + 10, repeated=True),
        ended(run_id, 1, 1, 4, Outcome.NOT_BEGUN, at=NOW + 11),
        dispatched(run_id, 1, 1, 5, NOW + 12),
        dispatched(run_id, 1, 2, 1, NOW + 13),
        Begun(run_id, 1, 2, 1, "w9", NOW + 14),
    ])  # fmt: skip
    retry = AttemptKind.RETRY
    assert journal.load(run_id).attempts == [
        AttemptRow(1, 1, 5, retry, "io", NOW + 12, None, None, None, 1, 2, NOW + 4, unknown=1),
        AttemptRow(1, 2, 1, AttemptKind.PRIMARY, "io", NOW + 13, NOW + 14, None, None, 0, 0, NOW + 14),
    ]


def test_an_attempt_that_ends_clears_the_retry_it_had_waited_for(journal: SqlJournal, epoch: int, run_id: str) -> None:
    journal.commit(0, epoch, [dispatched(run_id, 0), ended(run_id, 0, 0, 1, Outcome.FAILED, retry_at=NOW + 60)])
    assert journal.load(run_id).attempts[0].retry_at == NOW + 60
    journal.commit(0, epoch, [ended(run_id, 0, 0, 1, Outcome.CANCELLED)])
    assert journal.load(run_id).attempts[0].retry_at is None


def test_results_are_given_for_all_or_for_some_items(journal: SqlJournal, epoch: int, run_id: str) -> None:
    journal.commit(0, epoch, [record for item in range(1200) for record in node_done(run_id, 1, item)])
    journal.commit(0, epoch, [NodesSkipped(run_id, 1, (1200,), NodeState.SKIPPED, NOW)])
    assert len(journal.results(run_id, 1)) == 1200
    assert journal.results(run_id, 1, [5, 7, 1200]) == {5: '{"v":5}', 7: '{"v":7}'}
    assert len(journal.results(run_id, 1, range(1100))) == 1100
    assert journal.results(run_id, 1, []) == {}


def test_the_last_error_of_a_step_is_told(journal: SqlJournal, epoch: int, run_id: str) -> None:
    assert journal.errors(run_id, 1) is None
    for attempt, message in ((1, "first"), (2, "second")):
        error = ErrorInfo("ValueError", message)
        journal.commit(0, epoch, [ended(run_id, 1, 0, attempt, Outcome.FAILED, at=NOW + attempt, error=error)])
    assert journal.errors(run_id, 1) == "second"


def test_unfinished_runs_are_those_of_the_shard_that_are_not_known(
    journal: SqlJournal, epoch: int, runs: RunStore
) -> None:
    known, new, done, elsewhere = (runs.submit(new_run(shard=shard))[0] for shard in (0, 0, 0, 1))
    journal.commit(0, epoch, [RunChanged(done, RunState.SUCCEEDED, "", NOW)])
    assert [row.id for row in journal.unfinished_runs(0, {known})] == [new]
    assert [row.id for row in journal.unfinished_runs(0, ())] == [known, new]
    assert [row.id for row in journal.unfinished_runs(1, ())] == [elsewhere]


def test_a_run_that_lost_its_permits_says_so(journal: SqlJournal, epoch: int, run_id: str) -> None:
    assert not journal.load(run_id).run.permits_gone
    journal.commit(0, epoch, [RunChanged(run_id, RunState.CANCELLING, "asked to", NOW), PermitsGone(run_id, NOW)])
    assert journal.load(run_id).run.permits_gone


def test_commands_come_in_order_until_they_are_handled(
    journal: SqlJournal, epoch: int, runs: RunStore, run_id: str
) -> None:
    first = runs.add_command(run_id, "retry", {"steps": ["inspect"]})
    second = runs.add_command(run_id, "cancel")
    assert [(row.id, row.kind, dict(row.arguments)) for row in journal.commands(0)] == [
        (first, "retry", {"steps": ["inspect"]}),
        (second, "cancel", {}),
    ]
    journal.commit(0, epoch, [CommandHandled(first, NOW, "the run is not finished")])
    assert [row.id for row in journal.commands(0)] == [second]
    assert journal.commands(1) == []
    answer = runs.command_state(first)
    assert (answer.handled_at, answer.error) == (NOW, "the run is not finished")


def test_the_plan_of_a_version_comes_back_as_it_was_stored(journal: SqlJournal, run_id: str) -> None:
    assert journal.plan_source("v-audit") == new_run().plan_source
    with pytest.raises(NotFound, match="v-none"):
        journal.plan_source("v-none")
    with pytest.raises(NotFound, match="r_none"):
        journal.load("r_none")


def test_a_batch_may_mix_runs(journal: SqlJournal, epoch: int, runs: RunStore) -> None:
    one_step = CompiledPlan("one", "v-one", (CompiledStep(0, "only", "t", {}),))
    ids = [runs.submit(new_run(plan=one_step))[0] for _ in range(3)]
    journal.commit(0, epoch, [record for run_id in ids for record in node_done(run_id, 0)])
    assert [journal.load(run_id).nodes for run_id in ids] == [[(0, 0, NodeState.SUCCEEDED)]] * 3


def test_a_run_of_which_only_its_submission_is_stored_is_found_in_one_look(
    journal: SqlJournal, epoch: int, run_id: str
) -> None:
    found = journal.new_run(0, run_id)
    assert found == journal.load(run_id)
    assert journal.new_run(1, run_id) is None, "it belongs to another shard"
    assert journal.new_run(0, "r_none") is None
    journal.commit(0, epoch, [RunChanged(run_id, RunState.RUNNING, "taken up", NOW)])
    assert journal.new_run(0, run_id) is None, "it was taken up: all that is stored of it counts"
