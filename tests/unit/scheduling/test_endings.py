"""Runs that reach their goal, or cannot any more, before their steps have ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from engine.dag.compiled import CompiledPlan, CompiledStep, Ending
from engine.scheduling.events import Commanded, Question
from engine.scheduling.news import News
from engine.scheduling.records import Decision, RunState, StepState
from engine.scheduling.state import LiveRun
from engine.wire import ErrorInfo, Outcome
from tests.unit.scheduling.worlds import OneRun, plan_of, retried, step


def plan_with(*steps: CompiledStep, outputs: dict[str, int] | None = None, **ending: Any) -> CompiledPlan:
    return replace(plan_of(*steps), ending=Ending(**ending), names=outputs or {})


def a_run(plan: CompiledPlan, question: Question, answer: Callable[[LiveRun], bool]) -> OneRun:
    run = OneRun(plan)
    run.answers[question, -1] = answer
    run.revokes = True
    return run


def succeeded(no: int) -> Callable[[LiveRun], bool]:
    return lambda run: run.steps[no].state is StepState.SUCCEEDED


def test_a_run_that_reached_its_goal_succeeds_and_leaves_the_rest() -> None:
    plan = plan_with(step(0), step(1), step(2, 1), goal="g", goal_names={"s0": 0})
    run = a_run(plan, Question.GOAL, succeeded(0))
    told = run.end(next(each for each in run.send() if each.step_no == 0))
    row = run.journal.runs["r"]
    assert (row.state, row.reason, row.partial) == (RunState.SUCCEEDED, "goal reached: so it is", False)
    assert run.states() == ["succeeded", "cancelled", "skipped"]
    (decision,) = [record for record in told if isinstance(record, Decision)]
    assert decision.figures == {
        "by": "goal", "steps_stopped": 2, "steps": ["s1", "s2"], "nodes_running": 1, "nodes_never_begun": 0,
        "steps_never_begun": 1,
    }  # fmt: skip


def test_a_goal_is_asked_only_when_a_step_that_it_names_has_ended() -> None:
    plan = plan_with(step(0), step(1), step(2), goal="g", goal_names={"s2": 2})
    run = a_run(plan, Question.GOAL, lambda _: False)
    for placement in run.send()[:2]:
        run.end(placement)
    assert run.asked == []


def test_a_run_that_lacks_an_output_at_its_goal_is_partial() -> None:
    plan = plan_with(step(0), step(1), outputs={"s1": 1}, goal="g", goal_names={"s0": 0})
    run = a_run(plan, Question.GOAL, succeeded(0))
    run.end(run.send()[0])
    assert run.journal.runs["r"].partial


def test_another_scheduler_goes_on_ending_a_run_at_its_goal() -> None:
    plan = plan_with(step(0), step(1), goal="g", goal_names={"s0": 0})
    run = a_run(plan, Question.GOAL, succeeded(0))
    run.revokes = False
    run.end(run.send()[0])
    assert run.state is RunState.CANCELLING
    run.revokes = True
    run.restart()
    assert run.state is RunState.SUCCEEDED
    assert run.journal.runs["r"].reason == "goal reached: so it is"


def test_another_scheduler_finds_a_goal_that_held_before() -> None:
    plan = plan_with(step(0), step(1), goal="g", goal_names={"s0": 0})
    run = a_run(plan, Question.GOAL, lambda _: False)
    run.end(run.send()[0])
    run.answers[Question.GOAL, -1] = succeeded(0)
    run.restart()
    assert run.state is RunState.SUCCEEDED


def test_an_operators_reason_cannot_make_a_cancelled_run_succeed() -> None:
    run = OneRun(plan_of(step(0)))
    run.revokes = True
    run.send()
    run.tell(Commanded(1, "r", "cancel", {"reason": "goal reached: I think"}))
    assert run.state is RunState.CANCELLED


def test_a_run_that_can_come_to_nothing_is_given_up() -> None:
    plan = plan_with(step(0), step(1), impossible="i", impossible_names={"s0": 0})
    run = a_run(plan, Question.IMPOSSIBLE, lambda run: run.steps[0].state is StepState.FAILED)
    run.fail(run.send()[0])
    row = run.journal.runs["r"]
    assert (row.state, row.reason) == (RunState.FAILED, "given up: impossible: so it is")


@pytest.mark.parametrize("restarted", [False, True])
def test_the_same_error_so_many_times_gives_the_run_up(restarted: bool) -> None:
    plan = plan_with(retried(0, 9, 0.0), step(1), same_error=3)
    run = a_run(plan, Question.GOAL, lambda _: False)
    run.send()
    for attempt in (1, 2):
        run.fail(replace_attempt(run, attempt))
        run.send()
    if restarted:
        run.restart()
    run.end(replace_attempt(run, 3), Outcome.FAILED, ErrorInfo("Other", "something else"))
    assert run.state is RunState.RUNNING
    run.send()
    run.fail(replace_attempt(run, 4))
    row = run.journal.runs["r"]
    assert row.state is RunState.FAILED
    assert row.reason == "given up: 3 attempts failed with the same error, Flaky: no luck"


def test_of_errors_that_differ_in_their_text_a_few_bytes_each_are_kept() -> None:
    news = News()
    for number in range(1000):
        news.failed_with(f"Flaky: page {number} of {'long ' * 200}", 3)
    assert {len(key) for key in news.errors} == {16}
    assert not news.repeated
    news.failed_with("Flaky: no luck", 3, times=2)
    news.failed_with("Flaky: no luck", 3)
    assert news.repeated == {"Flaky: no luck": 3}


def replace_attempt(run: OneRun, attempt: int) -> Any:
    from engine.scheduling.events import Placement

    return Placement("r", 0, 0, attempt)


class TestOutOfReach:
    def test_a_run_is_given_up_once_nothing_left_leads_to_its_goal(self) -> None:
        plan = plan_with(step(0), step(1, 0), step(2), goal="g", goal_names={"s1": 1}, when_out_of_reach=True)
        run = a_run(plan, Question.GOAL, lambda _: False)
        run.fail(next(each for each in run.send() if each.step_no == 0))
        row = run.journal.runs["r"]
        assert row.reason == "given up: s0 failed, and nothing left leads to the goal"
        assert row.state is RunState.FAILED

    def test_a_goal_that_other_steps_may_still_reach_keeps_it_going(self) -> None:
        plan = plan_with(step(0), step(1), goal="g", goal_names={"s0": 0, "s1": 1}, when_out_of_reach=True)
        run = a_run(plan, Question.GOAL, succeeded(1))
        first, second = run.send()
        run.fail(first)
        assert run.state is RunState.RUNNING
        run.end(second)
        assert run.state is RunState.SUCCEEDED

    def test_without_a_goal_an_output_that_can_still_be_had_keeps_it_going(self) -> None:
        plan = plan_with(step(0), step(1), step(2), outputs={"s1": 1}, when_out_of_reach=True)
        run = a_run(plan, Question.GOAL, lambda _: False)
        first, second, _ = run.send()
        run.fail(first)
        assert run.state is RunState.RUNNING
        run.end(second)
        assert run.journal.runs["r"].reason == "given up: s0 failed, and nothing left leads to an output"

    def test_it_is_not_given_up_unless_it_says_so(self) -> None:
        run = a_run(plan_with(step(0), step(1), same_error=9), Question.GOAL, lambda _: False)
        run.fail(run.send()[0])
        assert run.state is RunState.RUNNING
