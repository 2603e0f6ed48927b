"""What is told of a plan before it runs."""

from __future__ import annotations

from typing import Any

import pytest

from engine.api.preview import Preview, node_counts, preview
from engine.dag.compile import compile_plan
from engine.dag.compiled import CompiledPlan
from engine.learning.knowledge import Knowledge
from engine.plan.model import Plan

NOW = 1_700_000_000.0
STEPS: dict[str, Any] = {
    "list": {"task": "t.list"},
    "each": {"task": "t.each", "for_each": "{{ inputs.files }}", "after": ["list"], "with": {"file": "{{ item }}"}},
    "again": {"task": "t.each", "for_each": "{{ steps.each.output }}", "with": {"file": "{{ item }}"}},
    "found": {"task": "t.each", "for_each": "{{ steps.list.output }}", "with": {"file": "{{ item }}"}},
    "tell": {"task": "t.tell", "after": ["again"], "when": "inputs.loud"},
}


@pytest.fixture
def plan() -> CompiledPlan:
    inputs = {"files": {"type": "list"}, "loud": {"type": "boolean", "default": True}}
    return compile_plan(Plan.model_validate({"name": "p", "inputs": inputs, "steps": STEPS}), None)


@pytest.fixture
def knowledge() -> Knowledge:
    known = Knowledge()
    known.observe_bodies("p", "list", "t.list", [1.0] * 10, NOW)
    known.observe_bodies("p", "each", "t.each", [0.2] * 10, NOW)
    return known


def foreseen(plan: CompiledPlan, knowledge: Knowledge, count: int = 40) -> Preview:
    return preview(plan, {"files": list(range(count)), "loud": True}, knowledge, {"io": 4})


def test_nodes_are_counted_from_inputs_from_other_steps_and_from_earlier_runs(
    plan: CompiledPlan, knowledge: Knowledge
) -> None:
    by_path = {step.path: step.no for step in plan.steps}
    counts = node_counts(plan, {"files": [1, 2, 3]}, knowledge)
    assert [counts[by_path[path]] for path in STEPS] == [1, 3, 3, None, 1]
    knowledge.observe_items("p", "found", 7, NOW)
    knowledge.observe_items("p", "each", 99, NOW)
    counts = node_counts(plan, {}, knowledge)
    assert [counts[by_path[path]] for path in STEPS] == [1, 99, 99, 7, 1]


def test_what_was_never_seen_is_named(plan: CompiledPlan, knowledge: Knowledge) -> None:
    found = foreseen(plan, knowledge)
    assert found.unknown_durations == ["tell"]
    assert found.unknown_sizes == ["found"]
    assert found.unknown_conditions == ["tell"]
    assert found.at_least
    assert (found.steps, found.nodes, found.width) == (5, 83, 41)
    assert found.critical_path == ["list", "each", "again", "tell"]
    nothing = foreseen(plan, Knowledge())
    assert (nothing.p50_s, nothing.p90_s, nothing.runs) == (None, None, 0)


def test_seconds_are_those_of_a_list_schedule_on_the_slots(plan: CompiledPlan, knowledge: Knowledge) -> None:
    knowledge.observe_bodies("p", "tell", "t.tell", [0.5] * 5, NOW)
    knowledge.observe_items("p", "found", 1, NOW)
    knowledge.observe_branch("p", "tell", 100, 0, NOW)
    found = foreseen(plan, knowledge)
    # list, then 81 bodies of 0.2 s on 4 slots, then tell.
    assert found.p50_s == pytest.approx(1.0 + 81 * 0.2 / 4 + 0.5, rel=0.1)
    assert not found.at_least
    assert found.unknown_durations == found.unknown_sizes == found.unknown_conditions == []
    assert found == foreseen(plan, knowledge), "the same knowledge gives the same figures"


def test_a_plan_that_varies_has_a_wider_range(plan: CompiledPlan, knowledge: Knowledge) -> None:
    knowledge.observe_bodies("p", "list", "t.list", [1.0] * 50 + [20.0] * 20, NOW)
    found = foreseen(plan, knowledge)
    assert found.p50_s is not None and found.p90_s is not None
    assert found.p90_s > found.p50_s + 10


def test_a_condition_that_was_seldom_true_seldom_costs_time(plan: CompiledPlan, knowledge: Knowledge) -> None:
    knowledge.observe_bodies("p", "tell", "t.tell", [100.0] * 5, NOW)
    knowledge.observe_branch("p", "tell", 1, 98, NOW)
    found = foreseen(plan, knowledge)
    assert found.p90_s is not None
    assert found.p90_s < 100
