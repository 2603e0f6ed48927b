"""Fan-outs that end once enough was sampled."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from engine.dag.compiled import Voting
from engine.scheduling.events import Question
from engine.scheduling.records import Decision, NodesSkipped, NodeState, RunState
from engine.scheduling.state import LiveRun
from tests.unit.scheduling.worlds import OneRun, plan_of, step


def sampled(count: int, enough: int, max_parallel: int = 4) -> OneRun:
    wide = replace(step(0), for_each=list(range(count)), max_parallel=max_parallel, enough="count >= n")
    run = OneRun(plan_of(wide, step(1, 0)))
    run.answers[Question.ENOUGH, 0] = lambda live: live.steps[0].succeeded >= enough
    return run


def test_a_fan_out_that_has_enough_succeeds_and_the_rest_is_stopped() -> None:
    run = sampled(10, 2)
    first, second, *_ = run.send()
    run.end(first)
    assert run.states() == ["running", "waiting"]
    told = run.end(second)
    ended = {record.state: record.items for record in told if isinstance(record, NodesSkipped)}
    assert ended == {NodeState.CANCELLED: (2, 3), NodeState.SKIPPED: (4, 5, 6, 7, 8, 9)}
    assert run.states() == ["succeeded", "running"]
    (decision,) = [record for record in told if isinstance(record, Decision)]
    assert decision.reason == "s0: enough: so it is"
    (last,) = run.send()
    run.end(last)
    assert run.state is RunState.SUCCEEDED
    assert not run.journal.runs["r"].partial


def test_samples_that_failed_are_tolerated_and_said() -> None:
    run = sampled(5, 1)
    first, second, *_ = run.send()
    run.fail(first)
    run.end(second)
    assert run.states()[0] == "succeeded"
    for placement in run.send():
        run.end(placement)
    assert run.state is RunState.SUCCEEDED
    assert run.journal.runs["r"].partial


def test_without_enough_it_ends_like_any_other() -> None:
    run = sampled(3, 9)
    for placement in run.send():
        run.end(placement)
    assert run.states()[0] == "succeeded"


def test_another_scheduler_finds_that_it_was_enough() -> None:
    run = sampled(6, 9)
    first, second, *_ = run.send()
    run.end(first)
    run.end(second)
    run.answers[Question.ENOUGH, 0] = lambda live: live.steps[0].succeeded >= 2
    run.restart()
    assert run.states()[0] == "succeeded"


def test_a_vote_is_asked_for_where_there_is_one() -> None:
    wide = replace(step(0), for_each=[1, 2, 3], voting=Voting("output", 0.9, 1))
    run = OneRun(plan_of(wide))
    run.end(run.send()[0])
    assert run.asked == [(Question.VOTE, 0)]


def test_looking_at_a_large_sample_costs_no_more_than_some_hundred_times_its_size() -> None:
    looked: list[int] = []
    run = sampled(10_000, 10_001, max_parallel=10_000)

    def answer(live: LiveRun) -> bool:
        looked.append(live.steps[0].succeeded)
        return False

    run.answers[Question.ENOUGH, 0] = answer
    run.core._policy = replace(run.core._policy, window_s=1e9)
    for placement in run.send(most=10_000):
        run.end(placement)
    assert looked[:3] == [1, 2, 3]
    assert sum(looked) < 150 * 10_000
    assert max(after - before for before, after in pairwise(looked)) <= 101
