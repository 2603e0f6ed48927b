"""Simulated runs of a plan: how long it would take on so many slots."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.dag.compiled import CompiledPlan, JoinKind
from engine.scheduling.forecast import Chances, makespan_s, steps_that_run
from engine.scheduling.odds import NoOdds
from engine.scheduling.ranks import ranks
from tests.unit.scheduling.worlds import plan_of, step


def seconds_of(plan: CompiledPlan, seconds: float, slots: int, counts: list[int] | None = None) -> float:
    order = ranks(plan, NoOdds().typical_s)
    chances = Chances(lambda _: seconds, lambda _: True)
    return makespan_s(plan, counts or [1] * len(plan.steps), {"io": slots}, order, chances)


def test_a_chain_takes_the_sum_of_its_steps() -> None:
    assert seconds_of(plan_of(step(0), step(1, 0), step(2, 1)), 0.5, slots=8) == pytest.approx(1.5)


def test_independent_steps_share_the_slots() -> None:
    plan = plan_of(*(step(no) for no in range(10)))
    assert seconds_of(plan, 1.0, slots=5) == pytest.approx(2.0)
    assert seconds_of(plan, 1.0, slots=100) == pytest.approx(1.0)


def test_a_fan_out_takes_its_bodies_over_the_slots_however_many_there_are() -> None:
    plan = plan_of(replace(step(0), for_each="{{ inputs.all }}"), step(1, 0))
    assert seconds_of(plan, 0.01, slots=10, counts=[100_000, 1]) == pytest.approx(100.01, rel=0.01)
    assert seconds_of(plan, 0.01, slots=10, counts=[0, 1]) == pytest.approx(0.01)


def test_a_step_keeps_to_its_own_limit() -> None:
    plan = plan_of(replace(step(0), for_each="{{ inputs.all }}", max_parallel=2))
    assert seconds_of(plan, 1.0, slots=50, counts=[10]) == pytest.approx(5.0)


def test_a_join_on_any_parent_waits_for_the_first() -> None:
    plan = plan_of(step(0), step(1), step(2, 1), step(3, 0, 2, join=JoinKind.ANY))
    assert seconds_of(plan, 1.0, slots=4) == pytest.approx(2.0)


def test_the_longest_way_goes_first_where_slots_are_short() -> None:
    plan = plan_of(step(0), step(1), step(2, 1), step(3, 2))
    assert seconds_of(plan, 1.0, slots=1) == pytest.approx(4.0)
    assert seconds_of(plan, 1.0, slots=2) == pytest.approx(3.0)


def test_what_is_behind_a_false_condition_does_not_run() -> None:
    plan = plan_of(step(0), replace(step(1, 0), when="inputs.x"), step(2, 1), step(3, 1, join=JoinKind.ALL_DONE))
    assert steps_that_run(plan, lambda _: True) == {0, 1, 2, 3}
    assert steps_that_run(plan, lambda _: False) == {0, 3}


def test_a_fall_back_is_not_counted_on() -> None:
    plan = plan_of(replace(step(0), fallback=1), replace(step(1), fallback_of=0), step(2, 0))
    assert steps_that_run(plan, lambda _: True) == {0, 2}
