"""What is said to a delivery of its run's limits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.plan.care import Care
from engine.runtime.caring import Caring
from engine.scheduling.exhaustion import RunBudget
from tests.unit.scheduling.worlds import OneRun, plan_of, step


def test_where_money_ran_short_a_delivery_says_when_the_run_has_to_end() -> None:
    run = OneRun(plan_of(step(0))).core.runs["r"]
    run.deadline_at = 90_000.0
    caring = Caring({"r": run}, {})
    assert Care.from_json(caring.care(run, run.plan.steps[0])).deadline_at is None
    run.budget = replace(run.budget, cheaper=1)
    care = Care.from_json(caring.care(run, run.plan.steps[0]))
    assert (care.cheaper, care.deadline_at) == (1, 90_000.0)


@pytest.mark.parametrize(("stored", "told"), [(250_000_000, 0.25), (0, 1e-9)])
def test_whatever_limit_is_stored_a_delivery_can_be_made_of_it(stored: int, told: float) -> None:
    run = OneRun(plan_of(step(0))).core.runs["r"]
    run.budget = replace(run.budget, max_nusd=stored)
    assert isinstance(run.budget, RunBudget)
    care = Care.from_json(Caring({"r": run}, {}).care(run, run.plan.steps[0]))
    assert care.run_budget is not None and care.run_budget.max_usd == told


def test_other_limits_that_an_operator_allowed_take_the_place_of_the_plans() -> None:
    run = OneRun(plan_of(step(0))).core.runs["r"]
    object.__setattr__(run.plan, "budget", {"max_calls": 1, "max_usd": 0.5})
    run.budget = replace(run.budget, limits={"max_calls": 7, "max_time": 60.0})
    care = Care.from_json(Caring({"r": run}, {}).care(run, run.plan.steps[0]))
    assert care.run_budget is not None
    assert (care.run_budget.max_calls, care.run_budget.max_time, care.run_budget.max_usd) == (7, 60.0, 0.5)
