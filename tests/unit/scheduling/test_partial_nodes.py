"""A node whose run left something undone says so itself, for whoever takes its result over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.scheduling.events import ChildEnded
from engine.scheduling.records import PARTIAL_NODE, NodeFinished, StepFinished
from engine.wire import NodeReport, Outcome
from tests.unit.scheduling.worlds import OneRun, plan_of, step


@pytest.mark.parametrize(("partial", "reason"), [(True, PARTIAL_NODE), (False, "")])
def test_a_node_keeps_whether_its_run_was_partial(partial: bool, reason: str) -> None:
    run = OneRun(plan_of(step(0)))
    (placement,) = run.send()
    report = NodeReport(0, placement.attempt, Outcome.OK, '{"v":1}', begun_at=run.now, ended_at=run.now)
    told = run.tell(ChildEnded("r", 0, report, partial))
    assert [record.reason for record in told if isinstance(record, NodeFinished)] == [reason]


def test_another_scheduler_knows_that_a_step_under_way_has_a_node_that_left_something_undone() -> None:
    run = OneRun(plan_of(replace(step(0), for_each=[1, 2])))
    first, second = run.send()
    report = NodeReport(0, first.attempt, Outcome.OK, '{"v":1}', begun_at=run.now, ended_at=run.now)
    run.tell(ChildEnded("r", 0, report, partial=True))
    run.restart()
    [finished] = [record for record in run.end(second) if isinstance(record, StepFinished)]
    assert finished.tolerated
