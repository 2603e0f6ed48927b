"""What steps and plans say of model calls reaches the body as it was meant."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.dag.compile import compile_plan
from engine.errors import PlanError
from engine.plan.care import Budget, Caching, Care, Limits
from engine.plan.model import Plan
from engine.wire import Delivery, NodeCall


def care(step: dict[str, object], **plan: object) -> Care:
    compiled = compile_plan(Plan.model_validate({"name": "p", "steps": {"a": {"task": "t.x", **step}}, **plan}))
    data = compiled.steps[0].care
    return Care.from_json(None if data is None else dict(data))


def test_a_step_that_says_nothing_brings_nothing() -> None:
    compiled = compile_plan(Plan.model_validate({"name": "p", "steps": {"a": {"task": "t.x"}}}))
    assert compiled.steps[0].care is None
    assert Care.from_json(None) == Care()


def test_all_that_a_step_says_arrives() -> None:
    found = care({
        "model": "openai/gpt-x", "needs": {"reasoning": "high", "speed": "fast"}, "quality": 0.9,
        "check": {"schema": {"type": "object"}}, "importance": "critical", "budget": {"max_usd": 0.5},
        "cache": {"ttl": "1h", "tags": ["a"]}, "invalidates": ["user:{{ inputs.id }}"],
    }, inputs={"id": {"type": "string"}})  # fmt: skip
    assert found.model == "openai/gpt-x"
    assert found.needs.reasoning == "high"
    assert found.checks[0].schema_ == {"type": "object"}
    assert (found.quality, found.importance) == (0.9, "critical")
    assert found.budget == Limits(max_usd=0.5)
    assert found.caching == Caching(ttl=3600.0, tags=("a",))
    assert found.invalidates == ("user:{{ inputs.id }}",)


def test_a_plan_speaks_for_steps_that_say_nothing() -> None:
    whole = {"model": "openai/small", "quality": 0.8, "budget": {"max_usd": 2, "on_exhausted": "ask"}}
    assert care({}, **whole).model == "openai/small"
    assert care({"model": "openai/big"}, **whole).model == "openai/big"
    assert care({}, **whole).run_budget == Budget(max_usd=2, on_exhausted="ask")


def test_false_forbids_keeping() -> None:
    assert care({"cache": False}).caching is False


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ({"model": "gpt"}, "model"),
        ({"check": {"schema": {}, "regex": "x"}}, "one of schema"),
        ({"budget": {}}, "needs max_usd"),
        ({"quality": 2}, "quality"),
        ({"batch": {"max_items": 1}}, "max_items"),
    ],
)
def test_what_does_not_hold_is_refused(step: dict[str, object], told: str) -> None:
    with pytest.raises((PlanError, ValueError), match=told):
        care(step)


def test_care_travels_with_a_delivery_and_its_followers() -> None:
    head = Delivery(
        "t", "e", 0, "r", "te", "s", "p", 0, "a", False, "t.x", "io", "none", (NodeCall(0, 1),), {"v": {}}, {"v": {}},
        care={"quality": 0.5},
    )  # fmt: skip
    follower = Delivery(
        "t", "e", 0, "r", "te", "s", "p", 1, "b", False, "t.x", "io", "none", (NodeCall(0, 1),), {"v": {}}, {"v": {}},
        care={"model": "a/b"}, follows=True,
    )  # fmt: skip
    there = Delivery.from_json(replace(head, then=(follower,)).to_json())
    assert there.care == {"quality": 0.5}
    assert there.then[0].care == {"model": "a/b"}
