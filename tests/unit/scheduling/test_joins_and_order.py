"""When steps start, and what goes out first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.dag.compiled import JoinKind, OnFailure
from engine.scheduling.outstanding import Room
from engine.scheduling.records import RunState
from engine.scheduling.snapshot import RunRow, RunSnapshot
from engine.scheduling.state import Policy
from tests.unit.scheduling.worlds import NOW, OneRun, plan_of, step


@pytest.mark.parametrize(
    ("join", "count", "failing", "expected"),
    [
        (JoinKind.ALL, 0, 0, "running"),
        (JoinKind.ALL, 0, 1, "skipped"),
        (JoinKind.ANY, 0, 2, "running"),
        (JoinKind.ANY, 0, 3, "skipped"),
        (JoinKind.AT_LEAST, 2, 1, "running"),
        (JoinKind.AT_LEAST, 2, 2, "skipped"),
        (JoinKind.ALL_DONE, 0, 3, "running"),
    ],
)
def test_a_step_starts_when_its_join_holds_and_is_skipped_when_it_cannot(
    join: JoinKind, count: int, failing: int, expected: str
) -> None:
    run = OneRun(plan_of(step(0), step(1), step(2), step(3, 0, 1, 2, join=join, count=count)))
    for placement in run.send():
        (run.fail if placement.step_no < failing else run.end)(placement)
    assert run.states()[3] == expected


@pytest.mark.parametrize(("failures", "expected"), [(1, "running"), (2, "skipped")])
def test_a_tolerant_join_bears_its_share_of_failed_nodes(failures: int, expected: str) -> None:
    fan = replace(step(0), for_each=list(range(4)))
    run = OneRun(plan_of(fan, step(1, 0, join=JoinKind.TOLERATE, share=0.3)))
    for placement in run.send():
        (run.fail if placement.item < failures else run.end)(placement)
    assert run.states()[1] == expected


def test_any_starts_with_the_first_success_and_not_again_with_the_second() -> None:
    run = OneRun(plan_of(step(0), step(1), step(2, 0, 1, join=JoinKind.ANY)))
    first, second = run.send()
    run.end(first)
    assert [placement.step_no for placement in run.send()] == [2]
    run.end(second)
    assert run.send() == []


def test_a_fall_back_runs_only_after_a_failure_and_makes_the_run_partial() -> None:
    original = replace(step(0), on_failure=OnFailure.FALL_BACK, fallback=1)
    run = OneRun(plan_of(original, replace(step(1, 0), fallback_of=0), step(2, 0)))
    run.fail(run.send()[0])
    assert run.states() == ["running", "running", "waiting"]
    run.end(run.send()[0])
    run.restart()  # what makes the run partial must outlive the scheduler
    run.end(run.send()[0])
    assert (run.states(), run.state) == (["succeeded"] * 3, RunState.SUCCEEDED)
    assert run.journal.runs["r"].partial


def test_a_fall_back_that_is_not_needed_is_skipped() -> None:
    original = replace(step(0), on_failure=OnFailure.FALL_BACK, fallback=1)
    run = OneRun(plan_of(original, replace(step(1, 0), fallback_of=0)))
    run.end(run.send()[0])
    assert (run.states(), run.state) == (["succeeded", "skipped"], RunState.SUCCEEDED)


def test_a_chain_of_skipped_steps_needs_no_stack() -> None:
    run = OneRun(plan_of(step(0), *(step(no, no - 1) for no in range(1, 5000))))
    run.fail(run.send()[0])
    assert run.state is RunState.FAILED


def test_the_longest_path_goes_first() -> None:
    run = OneRun(plan_of(step(0), step(1), step(2), step(3, 1), step(4, 2), step(5, 3)))
    assert [placement.step_no for placement in run.send(most=3)] == [1, 2, 0]


def test_runs_of_one_priority_take_turns_and_a_higher_one_goes_before_them() -> None:
    wide = plan_of(replace(step(0), for_each=list(range(40))))
    run = OneRun(wide)
    for name, priority in (("b", 0), ("high", 5)):
        row = RunRow(name, "t", "s", "p", "v", '{"v":{}}', priority, RunState.PENDING, "", NOW)
        run.core.take(RunSnapshot(row), wide, NOW)
    order = [placement.run_id for placement in run.send(Room({"io": 20}), 60)]
    assert order[:40] == ["high"] * 40
    assert set(order[40:60]) == {"r", "b"}
    assert abs(order[40:60].count("r") - 10) <= 5


def test_the_window_holds_seconds_of_work_and_never_less_than_two_messages_a_slot() -> None:
    run = OneRun(plan_of(replace(step(0), for_each=list(range(1000)))), Policy(window_s=5.0))
    assert len(run.send(Room({"io": 2}))) == 10  # unknown bodies are taken to last a second
    run = OneRun(plan_of(replace(step(0), for_each=list(range(1000)))), Policy(window_s=0.1))
    assert len(run.send(Room({"io": 2}))) == 4


def test_a_step_keeps_to_its_own_limit_and_a_pool_to_its_slots() -> None:
    run = OneRun(plan_of(replace(step(0), for_each=list(range(9)), max_parallel=2)))
    out = run.send()
    assert len(out) == 2
    run.end(out[0])
    assert len(run.send()) == 1
    pooled = OneRun(plan_of(replace(step(0), for_each=list(range(9)), pools=("db",))))
    assert len(pooled.send(Room({"io": 9}, pools={"db": 3}))) == 3
    assert pooled.send(Room({"io": 9}, pools={"db": 0})) == []
    assert len(pooled.send(Room({"io": 9}, pools={"db": 1}))) == 1
