"""Joins that prune: what is stopped, what is not, and what another scheduler makes of it."""

from __future__ import annotations

from dataclasses import replace

from engine.dag.compiled import CompiledPlan, CompiledStep, Join, JoinKind, OnFailure
from engine.scheduling.events import Question
from engine.scheduling.records import Decision, Duplicate, NodesSkipped, NodeState, RunState
from tests.unit.scheduling.worlds import OneRun, plan_of, step


def first_of(no: int, *parents: int) -> CompiledStep:
    return replace(step(no, *parents), join=Join(JoinKind.ANY, prune=True))


def until(no: int, *parents: int) -> CompiledStep:
    names = {f"s{parent}": parent for parent in parents}
    return replace(step(no, *parents), names=names, join=Join(JoinKind.UNTIL, until="it is good", prune=True))


def test_the_first_parent_that_succeeds_stops_the_others() -> None:
    run = OneRun(plan_of(step(0), step(1), step(2), first_of(3, 0, 1, 2)))
    placements = run.send()
    told = run.end(placements[1])
    assert run.states() == ["cancelled", "succeeded", "cancelled", "running"]
    assert sorted(run.stops) == [(0, 0), (2, 0)]
    (decision,) = [record for record in told if isinstance(record, Decision)]
    assert (decision.kind, decision.step_no) == ("terminate", 3)
    assert decision.figures["nodes_running"] == 2
    late = run.end(placements[0])
    assert [type(record) for record in late] == [Duplicate]
    (last,) = run.send()
    run.end(last)
    assert run.state is RunState.SUCCEEDED
    assert not run.journal.runs["r"].partial


def test_what_was_needed_for_a_loser_alone_goes_with_it() -> None:
    run = OneRun(plan_of(step(0), step(1), step(2, 1), step(3, 2), first_of(4, 0, 3)))
    winner = next(each for each in run.send() if each.step_no == 0)
    run.end(winner)
    assert run.states() == ["succeeded", "cancelled", "skipped", "skipped", "running"]


def test_what_another_step_waits_for_is_left_alone() -> None:
    run = OneRun(plan_of(step(0), step(1), step(2, 1), first_of(3, 0, 1)))
    run.end(next(each for each in run.send() if each.step_no == 0))
    assert run.states() == ["succeeded", "running", "waiting", "running"]


def test_what_an_output_refers_to_is_left_alone() -> None:
    plan = replace(plan_of(step(0), step(1), first_of(2, 0, 1)), names={"s1": 1})
    run = OneRun(plan)
    run.end(next(each for each in run.send() if each.step_no == 0))
    assert run.states() == ["succeeded", "running", "running"]


def test_an_any_join_goes_on_stopping_nothing() -> None:
    run = OneRun(plan_of(step(0), step(1), step(2, 0, 1, join=JoinKind.ANY)))
    run.end(run.send()[0])
    assert run.states() == ["succeeded", "running", "running"]
    assert run.stops == ()


def test_two_of_three_stop_the_third() -> None:
    join = replace(step(3, 0, 1, 2), join=Join(JoinKind.AT_LEAST, 2, prune=True))
    run = OneRun(plan_of(step(0), step(1), step(2), join))
    a, b, _ = run.send()
    run.end(a)
    assert run.states()[3] == "waiting"
    run.end(b)
    assert run.states() == ["succeeded", "succeeded", "cancelled", "running"]


def test_a_fan_out_that_is_not_needed_tells_of_each_node() -> None:
    wide = replace(step(1), for_each=[1, 2, 3, 4], max_parallel=2)
    run = OneRun(plan_of(step(0), wide, first_of(2, 0, 1)))
    told = run.end(next(each for each in run.send() if each.step_no == 0))
    skipped = {record.state: record.items for record in told if isinstance(record, NodesSkipped)}
    assert skipped == {NodeState.CANCELLED: (0, 1), NodeState.SKIPPED: (2, 3)}
    assert run.states() == ["succeeded", "cancelled", "running"]


def test_a_stand_in_that_runs_for_a_loser_is_stopped_too() -> None:
    failing = replace(step(1), on_failure=OnFailure.FALL_BACK, fallback=2)
    stand_in = replace(step(2, 1), fallback_of=1)
    run = OneRun(plan_of(step(0), failing, stand_in, first_of(3, 0, 1)))
    winner, loser = sorted(run.send(), key=lambda each: each.step_no)
    run.fail(loser)
    run.send()
    run.end(winner)
    assert run.states() == ["succeeded", "cancelled", "cancelled", "running"]


class TestUntil:
    def run(self) -> OneRun:
        return OneRun(plan_of(step(0), step(1), until(2, 0, 1)))

    def test_it_is_asked_once_a_parent_has_ended(self) -> None:
        run = self.run()
        a, _ = run.send()
        assert run.asked == []
        run.end(a)
        assert run.asked == [(Question.UNTIL, 2)]
        assert run.states()[2] == "waiting"

    def test_once_it_holds_the_others_are_stopped(self) -> None:
        run = self.run()
        run.answers[Question.UNTIL, 2] = lambda _: True
        run.end(run.send()[0])
        assert run.states() == ["succeeded", "cancelled", "running"]

    def test_if_it_never_holds_the_step_is_skipped(self) -> None:
        run = self.run()
        for placement in run.send():
            run.end(placement)
        assert run.states() == ["succeeded", "succeeded", "skipped"]
        assert run.state is RunState.SUCCEEDED

    def test_another_scheduler_asks_again(self) -> None:
        run = self.run()
        run.end(run.send()[0])
        run.answers[Question.UNTIL, 2] = lambda _: True
        run.restart()
        assert run.states() == ["succeeded", "cancelled", "running"]


def test_another_scheduler_leaves_what_was_stopped_stopped() -> None:
    plan: CompiledPlan = plan_of(step(0), step(1), step(2, 1), first_of(3, 0, 2))
    run = OneRun(plan)
    run.end(next(each for each in run.send() if each.step_no == 0))
    run.restart()
    assert run.states() == ["succeeded", "cancelled", "skipped", "running"]
    (last,) = run.send()
    run.end(last)
    assert run.state is RunState.SUCCEEDED
