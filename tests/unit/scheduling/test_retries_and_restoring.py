"""What follows a failure, and that a restart at any moment changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.dag.compiled import CompiledPlan, JoinKind, OnFailure
from engine.scheduling.events import AttemptLost, BeginAsked, Commanded, PermitsRevoked, TimePassed
from engine.scheduling.records import AttemptEnded, Begun, Duplicate, NodeFinished, NodeState, RunState
from engine.scheduling.state import Policy
from engine.wire import ErrorInfo, Outcome, shadow
from tests.unit.scheduling.worlds import OneRun, plan_of, retried, step


def test_a_failed_node_waits_and_is_tried_as_often_as_its_policy_says() -> None:
    run = OneRun(plan_of(retried(0, attempts=2)))
    run.fail(run.send()[0])
    assert run.send() == []
    run.now += 5.0
    run.tell(TimePassed())
    (second,) = run.send()
    assert second.attempt == 2
    run.fail(second)
    assert run.state is RunState.FAILED


def test_a_clock_that_is_set_back_makes_no_wait_longer() -> None:
    run = OneRun(plan_of(retried(0, attempts=2)))
    run.fail(run.send()[0])
    run.core.clock_jumped(-3600.0)
    run.now += 5.0 - 3600.0
    run.tell(TimePassed())
    assert len(run.send()) == 1


def test_what_must_not_be_retried_is_not() -> None:
    run = OneRun(plan_of(retried(0, attempts=9)))
    run.end(run.send()[0], Outcome.FAILED, ErrorInfo("Permanent", "wrong", retryable=False))
    assert run.state is RunState.FAILED


def test_a_second_report_of_one_attempt_is_kept_and_changes_nothing() -> None:
    run = OneRun(plan_of(step(0), step(1)))
    first, _ = run.send()
    run.end(first)
    assert [type(record) for record in run.fail(first)] == [Duplicate]


def test_a_lost_body_without_effects_is_repeated_until_it_is_to_blame() -> None:
    run = OneRun(plan_of(step(0)), Policy(losses_max=3))
    for _ in range(3):
        (placement,) = run.send()
        run.tell(AttemptLost("r", 0, 0, placement.attempt, "gone"))
    assert run.state is RunState.FAILED
    assert run.journal.nodes["r", 0, 0].reason.startswith("worker_lost")


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_an_external_body_begins_as_often_as_its_step_grants(attempts: int, restarted: bool) -> None:
    run = OneRun(plan_of(retried(0, attempts=attempts, delay_s=0.0, effects="external")))
    begun = 0
    while run.state is RunState.RUNNING:
        (placement,) = run.send()
        run.tell(BeginAsked("r", 0, 0, placement.attempt, "token"))
        begun += 1
        if restarted:
            run.restart()
        run.tell(AttemptLost("r", 0, 0, placement.attempt, "gone"))
        if restarted:
            run.restart()
            run.tell(TimePassed())
    assert begun == attempts


def test_an_external_body_that_was_refused_for_money_has_no_try_back_with_another_scheduler() -> None:
    run = OneRun(plan_of(retried(0, attempts=2, delay_s=0.0, effects="external")))
    for _ in range(2):
        (placement,) = run.send()
        run.tell(BeginAsked("r", 0, 0, placement.attempt, "token"))
        run.end(placement, Outcome.OVER_BUDGET, ErrorInfo("BudgetExhausted", "used up", retryable=True))
        run.restart()
        run.tell(TimePassed())
    assert run.send() == []


def test_the_begin_mark_of_a_second_copy_is_stored_with_its_node() -> None:
    run = OneRun(plan_of(step(0)))
    (placement,) = run.send()
    active = run.core.runs["r"].active
    active[0, shadow(0)] = replace(active[0, 0], attempt=placement.attempt + 1)
    records = run.tell(BeginAsked("r", 0, shadow(0), placement.attempt + 1, "token"))
    assert [(r.item, r.attempt) for r in records if isinstance(r, Begun)] == [(0, 2)]


def test_an_external_body_that_never_began_is_always_sent_again() -> None:
    run = OneRun(plan_of(replace(step(0), effects="external")))
    for attempt in range(1, 6):
        (placement,) = run.send()
        assert placement.attempt == attempt
        run.tell(AttemptLost("r", 0, 0, attempt, "gone"))
        run.now += 20.0
        run.tell(TimePassed())


def test_a_cancelled_body_that_had_begun_is_not_said_never_to_have() -> None:
    external = replace(step(0), effects="external")
    run = OneRun(plan_of(external, step(1), replace(external, no=2, path="s2")))
    run.send()
    run.tell(BeginAsked("r", 0, 0, 1, "token"))
    run.tell(Commanded(1, "r", "cancel"))
    records = run.tell(PermitsRevoked("r", frozenset()))
    ended = {record.step_no: record.outcome for record in records if isinstance(record, AttemptEnded)}
    assert ended == {0: Outcome.LOST, 1: Outcome.CANCELLED, 2: Outcome.NOT_BEGUN}, "only external ones ask first"
    assert run.state is RunState.CANCELLED


MIXED = plan_of(
    replace(step(0), for_each=[0, 1, 2], max_parallel=2),
    retried(1, attempts=2, delay_s=0.0),
    replace(step(2, 0), on_failure=OnFailure.CONTINUE),
    step(3, 1, 2, join=JoinKind.ALL_DONE),
    replace(step(4, 3), on_failure=OnFailure.FALL_BACK, fallback=5),
    replace(step(5, 4), fallback_of=4),
    step(6, 4, 0, join=JoinKind.AT_LEAST, count=2),
)


@settings(max_examples=150, deadline=None)
@given(failing=st.sets(st.sampled_from([(0, 1), (1, 0), (2, 0), (4, 0), (5, 0)])), restarts=st.sets(st.integers(0, 30)))
def test_a_run_restored_after_any_step_ends_as_if_nothing_had_happened(
    failing: set[tuple[int, int]], restarts: set[int]
) -> None:
    assert _story(MIXED, failing, restarts) == _story(MIXED, failing, set())


def _story(plan: CompiledPlan, failing: set[tuple[int, int]], restarts: set[int]) -> object:
    run, turn, out = OneRun(plan), 0, []
    while run.state is RunState.RUNNING:
        turn += 1
        assert turn < 200
        if turn in restarts:
            run.restart()
            run.tell(TimePassed())
        out += run.send()
        placement = out.pop(0)
        (run.fail if (placement.step_no, placement.item) in failing else run.end)(placement)
    nodes = {key: node.state for key, node in run.journal.nodes.items()}
    row = run.journal.runs["r"]
    return nodes, run.states(), row.state, row.reason, row.partial


def test_a_node_is_finished_once() -> None:
    run = OneRun(plan_of(step(0)))
    records = run.end(run.send()[0])
    assert [record.state for record in records if isinstance(record, NodeFinished)] == [NodeState.SUCCEEDED]


def test_a_run_is_given_up_once_too_many_nodes_failed_and_stays_so_when_restored() -> None:
    run = OneRun(plan_of(replace(step(0), for_each=list(range(9)), max_failures=1)))
    out = run.send()
    run.fail(out[0])
    assert run.journal.runs["r"].state is RunState.RUNNING
    run.fail(out[1])
    assert run.journal.runs["r"].state is RunState.CANCELLING
    run.restart()
    run.tell(PermitsRevoked("r", frozenset()))
    ended = run.journal.runs["r"]
    assert (ended.state, ended.reason) == (RunState.FAILED, "given up: more than 1 nodes of s0 failed")
