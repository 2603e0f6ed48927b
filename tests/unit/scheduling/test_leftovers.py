"""Who may still take up what a step left outside: none that were stopped, and nothing reached only through them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.dag.compiled import CompiledPlan, CompiledStep
from engine.scheduling.leftovers import wanted
from engine.scheduling.records import RunState, StepState
from tests.unit.scheduling.worlds import plan_of, step

W, R, S, F, C = StepState.WAITING, StepState.RUNNING, StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED
SKIPPED = StepState.SKIPPED


def plan(*outputs: int) -> CompiledPlan:
    """Hand in (0), collect (1), and something that follows (2), each by what the one before gave."""
    steps = plan_of(step(0), reading(1, 0), reading(2, 1))
    return replace(steps, names={str(no): no for no in outputs})


def reading(no: int, other: int) -> CompiledStep:
    return replace(step(no, other), names={"before": other})


@pytest.mark.parametrize(
    ("states", "run", "outputs", "holds"),
    [
        ((R, W, W), RunState.RUNNING, (2,), True),
        ((S, R, W), RunState.RUNNING, (2,), True),
        ((S, R, W), RunState.CANCELLING, (2,), True),  # where it is bound for is told by how it ends
        ((S, C, C), RunState.CANCELLED, (0,), False),
        ((S, F, C), RunState.FAILED, (0,), False),
        ((S, C, R), RunState.RUNNING, (2,), False),  # pruned
        ((S, F, R), RunState.RUNNING, (2,), False),
        ((S, SKIPPED, SKIPPED), RunState.RUNNING, (2,), False),
        ((F, SKIPPED, SKIPPED), RunState.RUNNING, (0, 2), False),  # nobody has its id
        ((S, S, R), RunState.RUNNING, (2,), True),
        ((S, C, S), RunState.SUCCEEDED, (2,), False),
        ((S, C, S), RunState.SUCCEEDED, (0, 2), True),  # handed on
        ((S, S, S), RunState.SUCCEEDED, (1,), True),
    ],
)
def test_a_batch_is_wanted_while_something_that_gets_its_id_is_open(
    states: tuple[StepState, ...], run: RunState, outputs: tuple[int, ...], holds: bool
) -> None:
    assert wanted(plan(*outputs), states, run, 0) is holds


def test_a_fall_back_of_what_collects_it_may_take_it_up() -> None:
    steps = plan_of(step(0), replace(reading(1, 0), fallback=2), replace(reading(2, 0), fallback_of=1))
    assert wanted(steps, (S, F, R), RunState.RUNNING, 0)
    assert not wanted(steps, (S, F, F), RunState.RUNNING, 0)


def test_what_only_waits_for_a_step_gets_nothing_of_it() -> None:
    steps = plan_of(step(0), reading(1, 0), step(2, 0), reading(3, 2))
    assert wanted(steps, (S, R, S, R), RunState.RUNNING, 0)
    assert not wanted(steps, (S, C, S, R), RunState.RUNNING, 0)
