"""What a retry takes over from the run before it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest

from engine.api.rerun import fates, reuse_of
from engine.dag.compiled import CompiledStep
from engine.scheduling.records import (
    PARTIAL_NODE,
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


def reusable(runs: RunStore, run_id: str, again: Collection[int] = ()) -> Reuse:
    return reuse_of(run_id, fates(PLAN, PLAN, runs.steps(run_id), {}, again=again))


def test_a_retry_keeps_what_succeeded_and_runs_the_rest(
    journal: SqlJournal, epoch: int, runs: RunStore, run_id: str
) -> None:
    half_failed(journal, epoch, run_id)
    reuse = reusable(runs, run_id)
    assert reuse == Reuse(run_id, whole={0: 0}, succeeded_nodes={1: 1})

    retried, _ = runs.submit(new_run(reuse=reuse))

    assert journal.new_run(0, retried) is None, "what it takes over counts"
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
    runs.submit(new_run(reuse=reusable(runs, run_id)))
    assert (runs.get(run_id), runs.steps(run_id), runs.nodes(run_id, 1)) == before


def test_a_step_named_to_run_again_takes_all_below_it_along(
    journal: SqlJournal, epoch: int, runs: RunStore, run_id: str
) -> None:
    half_failed(journal, epoch, run_id)
    assert reusable(runs, run_id, again=[0]) == Reuse(run_id)


def test_steps_may_have_other_numbers_in_the_new_run(
    journal: SqlJournal, epoch: int, runs: RunStore, run_id: str
) -> None:
    half_failed(journal, epoch, run_id)
    first = CompiledStep(no=0, path="first", task="files.find", with_={})
    moved = [
        replace(step, no=step.no + 1, parents=tuple(no + 1 for no in step.parents),
                children=tuple(no + 1 for no in step.children))
        for step in PLAN.steps
    ]  # fmt: skip
    later = replace(PLAN, version="v-later", steps=(first, *moved))
    reuse = reuse_of(run_id, fates(PLAN, later, runs.steps(run_id), {}))
    assert reuse == Reuse(run_id, whole={0: 1}, succeeded_nodes={1: 2})
    retried, _ = runs.submit(new_run(plan=later, reuse=reuse))
    assert journal.results(retried, 2) == journal.results(run_id, 1)
    assert [(step.path, step.state.value, step.count) for step in runs.steps(retried)] == [
        ("first", "waiting", None), ("find", "succeeded", 1), ("inspect", "running", 3), ("report", "waiting", None),
    ]  # fmt: skip
    assert audit(runs.database, retried) == []


def test_what_is_taken_over_keeps_the_hash_of_the_code_that_made_it(
    journal: SqlJournal, epoch: int, runs: RunStore
) -> None:
    earlier, _ = runs.submit(new_run(code={"files.find": "f1", "python.call": "p1", "files.write": "w1"}))
    half_failed(journal, epoch, earlier)
    now = {"files.find": "f2", "python.call": "p2", "files.write": "w2"}
    kept = reuse_of(earlier, fates(PLAN, PLAN, runs.steps(earlier), now, keep=True))
    retried, _ = runs.submit(new_run(reuse=kept, code=now))
    assert [step.code_hash for step in runs.steps(retried)] == ["f1", "p1", "w2"]
    fresh = reuse_of(earlier, fates(PLAN, PLAN, runs.steps(earlier), now))
    assert fresh == Reuse(earlier)


@pytest.mark.parametrize("taken", ["whole", "succeeded nodes"])
def test_partial_results_that_are_taken_over_make_the_new_run_partial_however_often(
    journal: SqlJournal, epoch: int, runs: RunStore, run_id: str, taken: str
) -> None:
    half_failed(journal, epoch, run_id)
    partial, _ = runs.submit(new_run(reuse=reusable(runs, run_id)))
    assert not runs.get(partial).partial
    marked = NodeFinished(partial, 1, 1, NodeState.SUCCEEDED, 1, NOW + 9, '{"v":1}', f"{PARTIAL_NODE}: cut short")
    journal.commit(0, epoch, [dispatched(partial, 1, 1, at=NOW + 8), ended(partial, 1, 1, at=NOW + 9), marked])
    for _ in range(2):
        reuse = Reuse(partial, {0: 0, 1: 1}) if taken == "whole" else Reuse(partial, {0: 0}, {1: 1})
        partial, _ = runs.submit(new_run(reuse=reuse))
        assert runs.get(partial).partial
        assert journal.load(partial).run.partial


def test_a_step_that_tolerated_failures_makes_the_new_run_partial(
    journal: SqlJournal, epoch: int, runs: RunStore, run_id: str
) -> None:
    half_failed(journal, epoch, run_id)
    journal.commit(0, epoch, [StepFinished(run_id, 0, StepState.SUCCEEDED, "", NOW + 7, succeeded=1, tolerated=True)])
    retried, _ = runs.submit(new_run(reuse=reusable(runs, run_id)))
    assert runs.get(retried).partial
