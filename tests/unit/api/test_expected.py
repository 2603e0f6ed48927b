"""The cost of a plan before it runs: as earlier runs had it, or unknown."""

from __future__ import annotations

from dataclasses import replace

from engine.api.expected import ExpectedCost, expected_cost
from engine.costs.money import nusd
from engine.dag.compiled import CompiledPlan, CompiledStep
from engine.store.earlier import EarlierRun, StepCost

PLAN = CompiledPlan(
    name="p",
    version="v",
    steps=(
        CompiledStep(no=0, path="ask", task="llm.complete", with_={}),
        CompiledStep(no=1, path="fetch", task="http.get", with_={}),
    ),
)


def earlier(usd: float, nodes: int, fetched: int = 1, entries: bool = True) -> EarlierRun:
    steps = {"ask": StepCost("llm.complete", nodes, nusd(usd)), "fetch": StepCost("http.get", fetched, 0)}
    return EarlierRun("r", steps, entries)


def test_a_plan_of_which_nothing_is_known_has_an_unknown_cost() -> None:
    assert expected_cost(PLAN, [1, 1], [], {"http.get": 1.0}) is None
    assert expected_cost(PLAN, [1, 1], [earlier(0, 1, entries=False)], {"http.get": 1.0}) is None


def test_the_cost_is_that_of_earlier_nodes_for_as_many_as_there_will_be() -> None:
    runs = [earlier(10.0, 10), earlier(3.0, 1), earlier(0.0, 0)]
    found = expected_cost(PLAN, [4, 1], runs, {"http.get": 0.5})
    assert found == ExpectedCost(usd=(4.5 + 12.5 + 0.5) / 3, low_usd=0.5, high_usd=12.5, runs=3, unknown_steps=[])


def test_a_batch_is_expected_to_cost_one_call_for_its_nodes() -> None:
    batched = replace(PLAN, steps=(replace(PLAN.steps[0], batch_items=20), PLAN.steps[1]))
    found = expected_cost(batched, [41, 1], [earlier(10.0, 10)], {"llm.complete": 0.5})
    assert found is not None and found.usd == 41.0 + 3 * 0.5


def test_steps_that_no_earlier_run_tried_are_named() -> None:
    found = expected_cost(PLAN, [1, 1], [earlier(1.0, 1, fetched=0)], {})
    assert found is not None
    assert found.unknown_steps == ["fetch"]


def test_a_step_that_does_something_else_now_is_as_one_never_tried() -> None:
    run = EarlierRun("r", {"ask": StepCost("llm.judge", 1, 5), "fetch": StepCost("http.get", 1, 5)}, entries=True)
    found = expected_cost(PLAN, [1, 1], [run], {})
    assert found is not None
    assert (found.unknown_steps, found.usd) == (["ask"], 5e-9)


def test_a_step_that_was_never_tried_may_be_what_costs() -> None:
    assert expected_cost(PLAN, [1, 1], [earlier(0.0, 1, fetched=0)], {}) is None
    found = expected_cost(PLAN, [1, 1], [earlier(0.0, 1)], {})
    assert found is not None
    assert found.high_usd == 0
