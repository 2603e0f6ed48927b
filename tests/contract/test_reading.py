"""What people see of runs: names, pages, nodes by where they are, counts, logs."""

from __future__ import annotations

import pytest

from engine.errors import NotFound
from engine.scheduling.records import (
    Begun,
    Decision,
    LogLines,
    NodesSkipped,
    NodeState,
    RunChanged,
    RunState,
    StepExpanded,
    StepFinished,
    StepState,
)
from engine.store.journal import SqlJournal
from engine.store.runs import RunStore
from engine.store.views import QueueBacklog
from engine.wire import ErrorInfo, Outcome
from tests.contract.samples import NOW, dispatched, ended, new_run, node_done


@pytest.fixture
def half_done(journal: SqlJournal, epoch: int, run_id: str) -> str:
    """``inspect`` with nine items: 0-1 succeeded, 2 skipped, 3 out, 4 running, 5 retrying, 6 refused, 7-8 untouched."""
    journal.commit(0, epoch, [
        RunChanged(run_id, RunState.RUNNING, "", NOW),
        StepExpanded(run_id, 0, 1, NOW),
        *node_done(run_id, 0),
        StepFinished(run_id, 0, StepState.SUCCEEDED, "", NOW + 2, succeeded=1),
        StepExpanded(run_id, 1, 9, NOW + 2),
        *node_done(run_id, 1, 0),
        *node_done(run_id, 1, 1, attempt=1),
        NodesSkipped(run_id, 1, (2,), NodeState.SKIPPED, NOW, "its condition is false"),
        dispatched(run_id, 1, 3),
        dispatched(run_id, 1, 4, 1), ended(run_id, 1, 4, 1, Outcome.FAILED, retry_at=NOW),
        dispatched(run_id, 1, 4, 2), Begun(run_id, 1, 4, 2, "w4", NOW + 5),
        dispatched(run_id, 1, 5), ended(run_id, 1, 5, 1, Outcome.FAILED, error=ErrorInfo("E", "m"), retry_at=NOW + 60),
        dispatched(run_id, 1, 6), ended(run_id, 1, 6, 1, Outcome.NOT_BEGUN),
        LogLines(run_id, 1, 4, 2, ("a", "b"), 0.25),
        LogLines(run_id, 0, 0, 1, ("c",)),
        Decision(run_id, "order", "rank", NOW, 1, None, {"rank_s": 2.5}),
    ])  # fmt: skip
    return run_id


def test_a_run_is_found_by_id_by_a_unique_beginning_and_as_the_last(runs: RunStore) -> None:
    with pytest.raises(NotFound, match="there is no run yet"):
        runs.get("@last")
    for run_id in ("r_aa1", "r_aa2", "r_ab_%", "r_b"):
        runs.submit(new_run(id=run_id))
    assert runs.get("r_b").id == runs.get("@last").id == "r_b"
    assert runs.get("r_ab").id == "r_ab_%"
    with pytest.raises(NotFound, match=r"several runs begin with 'r_aa': r_aa2, r_aa1$"):
        runs.get("r_aa")
    for missing in ("r_z", "", "%", "r_a_1"):
        with pytest.raises(NotFound, match="no run"):
            runs.get(missing)


@pytest.mark.parametrize(
    ("state", "items"),
    [
        (None, list(range(9))), ("succeeded", [0, 1]), ("skipped", [2]), ("out", [3]), ("running", [4]),
        ("retrying", [5]), ("ready", [6, 7, 8]), ("failed", []), ("cancelled", []),
    ],
)  # fmt: skip
def test_nodes_are_found_by_where_they_are(runs: RunStore, half_done: str, state: str | None, items: list[int]) -> None:
    found = runs.nodes(half_done, 1, state)
    assert [node.item for node in found] == items
    if state is not None:
        assert {node.state for node in found} <= {state}
        assert [node.item for node in runs.nodes(half_done, 1, state, limit=1)] == items[:1]
        assert [node.item for node in runs.nodes(half_done, 1, state, after=6)] == [item for item in items if item > 6]


def test_a_node_tells_what_its_latest_attempt_came_to(runs: RunStore, half_done: str) -> None:
    running, retrying = runs.nodes(half_done, 1, limit=2, after=3)
    assert (running.key, running.attempt, running.worker, running.progress) == ("inspect[4]", 2, "w4", 0.25)
    assert (retrying.retry_at, retrying.error) == (NOW + 60, ErrorInfo("E", "m"))
    assert [(each.attempt, each.outcome) for each in runs.attempts(half_done, 1, 4)] == [(1, "failed"), (2, None)]


def test_nodes_of_a_step_that_ended_without_rows_are_in_its_state(
    runs: RunStore, journal: SqlJournal, epoch: int, half_done: str
) -> None:
    journal.commit(0, epoch, [StepFinished(half_done, 1, StepState.CANCELLED, "asked to", NOW, 2, 0, 1)])
    assert [node.item for node in runs.nodes(half_done, 1, "cancelled")] == [3, 4, 5, 6, 7, 8]
    assert runs.nodes(half_done, 1, "ready") == []
    assert runs.progress(half_done).steps[1].cancelled == 6


def test_progress_counts_each_node_once(runs: RunStore, half_done: str) -> None:
    progress = runs.progress(half_done)
    find, inspect, report = progress.steps
    assert (find.done, find.count, report.count) == (1, 1, None)
    assert (inspect.succeeded, inspect.skipped, inspect.out, inspect.running, inspect.retrying) == (2, 1, 2, 1, 1)
    assert progress.run.state is RunState.RUNNING


def test_the_backlog_of_a_queue_is_of_unfinished_runs(
    runs: RunStore, journal: SqlJournal, epoch: int, half_done: str
) -> None:
    assert runs.queue_backlog() == [QueueBacklog("cpu", ready=3, out=2, retrying=1)]
    journal.commit(0, epoch, [RunChanged(half_done, RunState.FAILED, "deadline", NOW)])
    assert runs.queue_backlog() == []


def test_logs_go_on_after_the_last_line_that_was_read(
    runs: RunStore, journal: SqlJournal, epoch: int, half_done: str
) -> None:
    lines = runs.logs(half_done)
    assert [line.text for line in lines] == ["a", "b", "c"]
    assert [line.text for line in runs.logs(half_done, step_no=1, item=4)] == ["a", "b"]
    assert [line.text for line in runs.logs(half_done, limit=1, after=lines[0].number)] == ["b"]
    journal.commit(0, epoch, [LogLines(half_done, 1, 4, 2, ("d",))])
    assert [line.text for line in runs.logs(half_done, after=lines[-1].number)] == ["d"]


def test_decisions_and_results_are_read(runs: RunStore, half_done: str) -> None:
    (decision,) = runs.decisions(half_done)
    assert (decision.kind, decision.figures) == ("order", {"rank_s": 2.5})
    assert runs.decisions(half_done, step_no=0) == []
    assert runs.result(half_done, 1, 1).value == {"v": 1}
    assert runs.result(half_done, 1, 2).state is NodeState.SKIPPED
    with pytest.raises(NotFound, match="has not ended"):
        runs.result(half_done, 1, 3)


def test_a_step_is_found_by_its_path(runs: RunStore, half_done: str) -> None:
    assert runs.step_named(half_done, "inspect").step_no == 1
    with pytest.raises(NotFound, match="has no step 'inspct'; it has find, inspect, report"):
        runs.step_named(half_done, "inspct")
    with pytest.raises(NotFound, match="no step 9"):
        runs.nodes(half_done, 9)


def test_a_run_and_its_outputs_are_read_together(
    runs: RunStore, journal: SqlJournal, epoch: int, half_done: str
) -> None:
    assert runs.get_with_outputs(half_done) == (runs.get(half_done), None)
    journal.commit(0, epoch, [RunChanged(half_done, RunState.SUCCEEDED, "complete", NOW + 9, outputs='{"v":[1]}')])
    found, outputs = runs.get_with_outputs(half_done[:-1])
    assert (found, found.state, outputs) == (runs.get(half_done), RunState.SUCCEEDED, {"v": [1]})
    assert runs.outputs(half_done) == outputs
