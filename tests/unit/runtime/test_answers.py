"""What answers keep in memory of a run that goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from engine.runtime.answers import Answers
from engine.runtime.ports import RunRow
from engine.runtime.values import Values
from engine.scheduling.records import StepFinished, StepState
from tests.unit.scheduling.worlds import NOW, OneRun, plan_of, step


def test_items_of_a_fan_out_are_kept_until_its_step_has_ended() -> None:
    fans = [replace(step(no), for_each=[1, 2, 3]) for no in (0, 1)]
    run, row = OneRun(plan_of(*fans)).core.runs["r"], cast(RunRow, None)
    answers = Answers(cast(Values, None))
    before = [answers.items(run, row, no) for no in (0, 1)]
    assert [answers.items(run, row, no) is before[no] for no in (0, 1)] == [True, True]
    answers.take_in([StepFinished("r", 0, StepState.SUCCEEDED, "", NOW, 3, 0, 0)])
    assert [answers.items(run, row, no) is before[no] for no in (0, 1)] == [False, True]
