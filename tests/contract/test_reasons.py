"""Why a run went as it did, told from what is stored: in order, in words, and never more than asked for."""

from __future__ import annotations

import pytest

from engine.api.explaining import Explanation, explain_run, explain_step
from engine.errors import NotFound
from engine.scheduling.records import (
    AttemptEnded,
    AttemptKind,
    Begun,
    Decision,
    Dispatched,
    NodeFinished,
    NodeState,
    RunChanged,
    RunState,
    StepExpanded,
    StepFinished,
    StepState,
)
from engine.store import reasons
from engine.store.journal import SqlJournal
from engine.store.runs import RunStore
from engine.wire import ErrorInfo, Outcome
from tests.contract.samples import NOW, node_done


@pytest.fixture
def hedged(journal: SqlJournal, epoch: int, run_id: str) -> str:
    """``inspect`` with three items: 0 and 1 went out first, 2 failed once, then its second copy won."""
    late = ErrorInfo("NotNeeded", "a second copy was faster")
    journal.commit(0, epoch, [
        RunChanged(run_id, RunState.RUNNING, "", NOW),
        StepExpanded(run_id, 0, 1, NOW),
        *node_done(run_id, 0),
        StepFinished(run_id, 0, StepState.SUCCEEDED, "", NOW + 2, succeeded=1),
        StepExpanded(run_id, 1, 3, NOW + 2.5),
        Decision(run_id, "hold", "waits: queue io is full", NOW + 2.5, 1, None, {"slots": 2}),
        *(Dispatched(run_id, 1, item, 1, AttemptKind.PRIMARY, "cpu", NOW + 2.6) for item in (0, 1)),
        Dispatched(run_id, 1, 2, 1, AttemptKind.PRIMARY, "cpu", NOW + 3),
        Begun(run_id, 1, 2, 1, "w1", NOW + 3.01),
        AttemptEnded(
            run_id, 1, 2, 1, Outcome.FAILED, NOW + 4, ErrorInfo("Busy", "later"), "w1", NOW + 3.01, NOW + 4,
            retry_at=NOW + 4.5,
        ),
        Dispatched(run_id, 1, 2, 2, AttemptKind.RETRY, "cpu", NOW + 4.5),
        Begun(run_id, 1, 2, 2, "w1", NOW + 4.6),
        Decision(run_id, "hedge", "it has run 2 s", NOW + 6.6, 1, 2, {"elapsed_s": 2.0}),
        Dispatched(run_id, 1, 2, 3, AttemptKind.HEDGE, "cpu", NOW + 6.6),
        AttemptEnded(run_id, 1, 2, 3, Outcome.OK, NOW + 7, None, "w2", NOW + 6.61, NOW + 7),
        AttemptEnded(run_id, 1, 2, 2, Outcome.CANCELLED, NOW + 7, late, "w1", NOW + 4.6, NOW + 7),
        NodeFinished(run_id, 1, 2, NodeState.SUCCEEDED, 3, NOW + 7, '{"v":1}'),
    ])  # fmt: skip
    return run_id


def words(told: Explanation) -> list[str]:
    return [line.words for line in told.lines]


def test_a_node_tells_what_it_waited_for_every_attempt_and_which_won(runs: RunStore, hedged: str) -> None:
    told = explain_step(runs, runs.get(hedged), runs.step_named(hedged, "inspect"), 2)
    said = words(told)
    for part in (
        "which succeeded",
        "has 3 nodes: its join (all) held, 500 ms after the last",
        "waits: queue io is full",
        "attempt 1 (primary) went out to queue cpu, 500 ms after it was ready; 2 of its step went out before it",
        "attempt 1 began on w1, 10 ms after it went out",
        "attempt 1 (primary) ended as failed after 990 ms: Busy: later; to be tried again 500 ms later",
        "it has run 2 s",
        "attempt 3 (hedge) went out to queue cpu",
        "attempt 2 (retry) ended as cancelled after 2.4 s: NotNeeded: a second copy was faster",
        "succeeded by attempt 3 of 3 (hedge)",
    ):
        assert any(part in line for line in said), (part, said)
    assert [line.at for line in told.lines] == sorted(line.at for line in told.lines if line.at is not None)
    assert told.where == "inspect[2]"


def test_a_node_is_not_told_what_concerns_others_of_its_step(runs: RunStore, hedged: str) -> None:
    said = words(explain_step(runs, runs.get(hedged), runs.step_named(hedged, "inspect"), 0))
    assert "waits: queue io is full" in said
    assert "it has run 2 s" not in said
    with pytest.raises(NotFound, match=r"no node inspect\[3\]; inspect has 3"):
        explain_step(runs, runs.get(hedged), runs.step_named(hedged, "inspect"), 3)


def test_a_run_tells_its_decisions_in_order_and_counts_attempts_by_kind(runs: RunStore, hedged: str) -> None:
    told = explain_run(runs, runs.get(hedged))
    assert [line.kind for line in told.lines if line.kind in ("hold", "hedge")] == ["hold", "hedge"]
    assert [line.where for line in told.lines if line.kind == "hedge"] == ["inspect[2]"]
    assert {(each.kind, each.attempts, each.won) for each in told.attempts} >= {("retry", 1, None), ("hedge", 1, 1)}
    assert told.left_out == 0


def test_no_more_is_read_than_was_asked_for(runs: RunStore, journal: SqlJournal, epoch: int, hedged: str) -> None:
    journal.commit(0, epoch, [Decision(hedged, "chunk", f"size {n}", NOW + 8 + n, 1) for n in range(50)])
    told = explain_run(runs, runs.get(hedged), limit=10)
    assert len([line for line in told.lines if line.kind in ("hold", "hedge", "chunk")]) == 10
    assert told.left_out == 42
    found, total = reasons.decisions(runs.database, hedged, 5, 1, 0)
    assert (len(found), total) == (5, 51)


def test_an_operators_wish_is_told_with_its_answer(runs: RunStore, hedged: str) -> None:
    runs.add_command(hedged, "pause")
    assert "asked to pause; not carried out yet" in words(explain_run(runs, runs.get(hedged)))
