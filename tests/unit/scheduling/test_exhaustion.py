"""A budget that is used up: what the run does then, that it is told, and that another scheduler knows it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.scheduling.events import Cascaded, Commanded, OutputsKnown, Placement, Reported
from engine.scheduling.records import (
    CommandHandled,
    Decision,
    NodeFinished,
    NodesSkipped,
    NodeState,
    Record,
    RunChanged,
    RunState,
)
from engine.scheduling.snapshot import ChildOf, RunRow
from engine.scheduling.state import Policy
from engine.wire import ErrorInfo, NodeReport, Outcome
from tests.unit.scheduling.worlds import ROOM, OneRun, plan_of, step

FACTS = {"scope": "run/r", "dimension": "usd", "limit": 100, "settled": 90, "reserved": 0, "wanted": 20}
REFUSED = ErrorInfo("BudgetExhausted", "the budget of run r is used up", facts=FACTS)


def a_run(**budget: object) -> OneRun:
    plan = replace(plan_of(step(0), step(1), step(2, 0)), budget={"max_usd": 1, **budget})
    return OneRun(plan, Policy())


def refuse(run: OneRun, placement: Placement) -> list[Record]:
    return run.end(placement, Outcome.OVER_BUDGET, REFUSED)


def told(records: list[Record]) -> list[Decision]:
    return [record for record in records if isinstance(record, Decision) and record.kind == "budget"]


def test_a_stopped_run_finishes_what_is_paid_and_ends_partial() -> None:
    run = a_run()
    first, second = run.send()
    records = refuse(run, first)
    [decision] = told(records)
    assert decision.reason.startswith("stops: the budget of run r")
    assert decision.figures["settled"] == 90 and decision.figures["choice"] == "stop"
    [node] = [record for record in records if isinstance(record, NodeFinished)]
    assert (node.state, node.reason[:12]) == (NodeState.SKIPPED, "over budget:")
    assert run.state is RunState.RUNNING
    run.end(second)
    assert run.states() == ["skipped", "succeeded", "skipped"]
    assert run.core.runs == {} or run.core.runs["r"].partial


def test_a_refusal_costs_no_attempt_and_waits_if_the_limit_has_room_again() -> None:
    run = a_run()
    first, _ = run.send()
    passing = replace(REFUSED, facts={**FACTS, "passing": True}, delay_s=7.0)
    records = run.end(first, Outcome.OVER_BUDGET, passing)
    assert told(records) == []
    run.now += 6.9
    run.tell()
    assert run.send() == []
    run.now += 0.2
    run.tell()
    [again] = run.send()
    assert (again.step_no, again.attempt) == (first.step_no, 2)


def test_a_run_that_asks_holds_no_slot_until_it_is_answered() -> None:
    run = a_run(on_exhausted="ask", ask_timeout=60)
    first, second = run.send()
    refuse(run, first)
    assert run.state is RunState.PAUSED
    run.end(second)
    assert run.send() == []
    run.restart()
    run.tell(Commanded(1, "r", "approve", {"max_nusd": 5}))
    assert run.state is RunState.RUNNING
    assert run.core.runs["r"].budget.max_nusd == 5
    assert [placement.step_no for placement in run.send()] == [0]


def test_a_run_that_asks_is_not_resumed_without_an_answer() -> None:
    run = a_run(on_exhausted="ask")
    first, _ = run.send()
    refuse(run, first)
    run.restart()
    [handled] = [r for r in run.tell(Commanded(1, "r", "resume", {})) if isinstance(r, CommandHandled)]
    assert handled.error is not None and "flywheel approvals approve r" in handled.error
    run.tell(Cascaded("r", "resume", "resumed with the run above"))
    assert run.state is RunState.PAUSED and run.send() == []


def test_a_rejected_run_stops() -> None:
    run = a_run(on_exhausted="ask")
    first, second = run.send()
    refuse(run, first)
    run.tell(Commanded(1, "r", "reject", {}))
    [again] = run.send()
    refuse(run, again)
    run.end(second)
    assert run.states() == ["skipped", "succeeded", "skipped"]


def test_only_a_run_that_asked_can_be_approved() -> None:
    run = a_run()
    [handled] = [r for r in run.tell(Commanded(1, "r", "approve", {})) if isinstance(r, CommandHandled)]
    assert handled.error == "run r waits for no approval"


def test_limits_of_calls_tokens_and_time_are_allowed_one_by_one_and_outlive_a_scheduler() -> None:
    run = a_run(on_exhausted="ask")
    for limits in ({"max_calls": 5, "max_time": 60}, {"max_tokens": 900, "max_calls": 6}):
        first = next(placement for placement in run.send() if placement.step_no == 0)
        refuse(run, first)
        run.tell(Commanded(1, "r", "approve", limits))
    again = run.send()[0]
    run.restart()
    assert run.core.runs["r"].budget.limits == {"max_calls": 6, "max_time": 60.0, "max_tokens": 900}
    refuse(run, again)
    wrong = run.tell(Commanded(2, "r", "approve", {"max_calls": 0}))
    [handled] = [record for record in wrong if isinstance(record, CommandHandled)]
    assert handled.error is not None and handled.error.startswith("max_calls is more than 0")


@pytest.mark.parametrize("most", [0, -1, 10**19])
def test_a_limit_that_no_delivery_could_state_is_refused_and_the_run_still_waits(most: int) -> None:
    run = a_run(on_exhausted="ask")
    first, _ = run.send()
    refuse(run, first)
    [handled] = [r for r in run.tell(Commanded(1, "r", "approve", {"max_nusd": most})) if isinstance(r, CommandHandled)]
    assert handled.error is not None and handled.error.startswith("a limit on spend is more than $0")
    assert run.state is RunState.PAUSED and run.core.runs["r"].budget.asked is not None


@pytest.mark.parametrize(("then", "state"), [("stop", "skipped"), ("cheaper", "running")])
def test_without_an_answer_in_time_the_plan_says_what_follows(then: str, state: str) -> None:
    run = a_run(on_exhausted="ask", ask_timeout=60, on_timeout=then)
    first, _ = run.send()
    refuse(run, first)
    run.restart()
    run.now += 61
    run.tell()
    assert run.state is RunState.RUNNING
    [again] = run.send()
    refuse(run, again)
    assert run.states()[0] == state


@pytest.mark.parametrize("seconds", [-30.0, 30.0])
def test_a_clock_that_is_set_leaves_the_time_to_answer_at_its_date(seconds: float) -> None:
    run = a_run(on_exhausted="ask", ask_timeout=60)
    first, _ = run.send()
    refuse(run, first)
    asked_until = run.now + 60
    run.core.clock_jumped(seconds)
    run.now = asked_until - 1
    run.tell()
    assert run.state is RunState.PAUSED
    run.now = asked_until
    run.tell()
    assert run.state is RunState.RUNNING


@pytest.mark.parametrize(("stated", "until_s"), [({}, 500.0), ({"ask_timeout": 60}, 60.0)])
def test_the_installation_says_how_long_a_plan_waits_that_does_not(stated: dict[str, object], until_s: float) -> None:
    plan = replace(plan_of(step(0)), budget={"max_usd": 1, "on_exhausted": "ask", **stated})
    run = OneRun(plan, Policy(run_budget={"ask_timeout": 9.0, "plan_ask_timeout": 500.0}))
    [first] = run.send()
    refuse(run, first)
    asked = run.core.runs["r"].budget.asked
    assert asked is not None and asked["until"] - asked["at"] == until_s


def test_a_run_goes_on_cheaper_and_stops_where_that_is_refused_too() -> None:
    run = a_run(on_exhausted="cheaper")
    first, second = run.send()
    assert told(refuse(run, first))[0].figures["level"] == 1
    assert told(refuse(run, second)) == []  # it went out before
    run.now += 1
    assert run.core.runs["r"].budget.cheaper == 1
    for level in (2, None):
        again, *_ = run.send()
        [decision] = told(refuse(run, again))
        assert decision.figures.get("level") == level
        run.now += 1
    assert run.core.runs["r"].budget.stopped


def a_line(**budget: object) -> tuple[OneRun, Placement]:
    """A run, and one below it that it started and whose only node is out; the limit is the upper one's."""
    run = OneRun(replace(plan_of(step(0), step(1)), budget={"max_usd": 1, **budget}), Policy())
    run.send()
    below = RunRow(
        "below", "t", "s", "p", "v", '{"v":{}}', 0, RunState.PENDING, "", run.now, parent=ChildOf("r", 0, 0, 1)
    )
    run.journal.submit(below)
    run.core.take(run.journal.load("below"), plan_of(step(0)), run.now)
    [[placement]], _ = run.core.dispatch(ROOM, run.now, 10)
    assert placement.run_id == "below"
    return run, placement


def refuse_below(run: OneRun, placement: Placement) -> list[Record]:
    report = NodeReport(placement.item, placement.attempt, Outcome.OVER_BUDGET, error=REFUSED)
    return run.core.decide([Reported("below", placement.step_no, report, "w", "token")], run.now).records


def test_a_limit_that_a_run_below_meets_stops_the_run_whose_it_is_and_says_so_in_both() -> None:
    run, placement = a_line()
    records = refuse_below(run, placement)
    assert [decision.run_id for decision in told(records)] == ["below", "r"]
    assert run.core.runs["r"].budget.stopped and run.core.runs["r"].partial
    verdict = run.core.decide([OutputsKnown("below", None, (), produced=True)], run.now)
    [end] = [record for record in verdict.records if isinstance(record, RunChanged)]
    assert (end.run_id, end.state, end.reason[:12]) == ("below", RunState.FAILED, "over budget:")


def test_a_limit_that_a_run_below_meets_is_asked_about_where_it_is_stated() -> None:
    run, placement = a_line(on_exhausted="ask")
    records = refuse_below(run, placement)
    assert [decision.run_id for decision in told(records)] == ["r"]
    assert run.core.runs["r"].state is RunState.PAUSED
    assert run.core.runs["below"].budget.asked is None


def test_a_limit_that_a_run_below_meets_makes_the_run_whose_it_is_go_on_cheaper() -> None:
    run, placement = a_line(on_exhausted="cheaper")
    refuse_below(run, placement)
    assert (run.core.runs["r"].budget.cheaper, run.core.runs["below"].budget.cheaper) == (1, 0)


def test_nodes_of_a_step_that_is_refused_for_good_are_not_all_sent_to_hear_the_same() -> None:
    fan = replace(step(0), for_each=list(range(50)), max_parallel=2)
    run = OneRun(replace(plan_of(fan, step(1)), budget={"max_usd": 1}), Policy())
    first, second, _other = run.send()
    run.end(second)
    records = refuse(run, first)
    [skipped] = [record for record in records if isinstance(record, NodesSkipped)]
    assert len(skipped.items) == 48 and skipped.reason.startswith("over budget: ")
    assert [placement.step_no for placement in run.send()] == []
    assert run.states()[0] == "succeeded"
    run.restart()
    assert run.states()[0] == "succeeded"
