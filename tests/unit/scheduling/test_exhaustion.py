"""A budget that is used up: what the run does then, that it is told, and that another scheduler knows it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.scheduling.events import Cascaded, Commanded, Placement
from engine.scheduling.records import CommandHandled, Decision, NodeFinished, NodeState, Record, RunState
from engine.scheduling.state import Policy
from engine.wire import ErrorInfo, Outcome
from tests.unit.scheduling.worlds import OneRun, plan_of, step

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
