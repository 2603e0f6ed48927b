"""Plans that a step made: bounded, of allowed task types, every problem told at once."""

from __future__ import annotations

import pytest

from engine.dag.compiled import ChildKind, ChildRuns, TaskFacts
from engine.dag.expansion import expanded
from engine.errors import PlanError

FACTS = TaskFacts(
    effects="none", queue="cpu", arguments=frozenset({"a"}), required=frozenset({"a"}), any_argument=False
)
CHILD = ChildRuns(ChildKind.EXPAND, 0, tasks={"t.ok": FACTS}, steps_max=3, items_max=5)


def test_a_list_of_steps_gets_what_its_task_types_had_at_submission() -> None:
    plan, source = expanded([{"name": "one", "task": "t.ok", "with": {"a": "{{ inputs.x }}"}}], ("x",), CHILD, "act")
    assert (plan.steps[0].effects, plan.steps[0].queue) == ("none", "cpu")
    assert source["steps"]["one"]["effects"] == "none"


def test_every_problem_is_told_at_once() -> None:
    steps = {
        "one": {"task": "t.ko"},
        "two": {"task": "t.ok", "with": {"b": 1}, "effects": "none", "queue": "gpu"},
        "three": {"plan": "other"},
        "four": {"task": "t.ok", "with": {"a": "{{ steps.nobody.output }}"}},
    }
    with pytest.raises(PlanError) as caught:
        expanded({"steps": steps}, (), CHILD, "act")
    for told in ("'t.ko' is not among", "no argument 'b'", "needs the argument 'a'", "nothing of effects",
                 "nothing of queue", "does not name them", "4 steps, and may have 3", "no step 'nobody'"):  # fmt: skip
        assert told in str(caught.value), told


@pytest.mark.parametrize("data", [3, "steps", None, [1], {"steps": {}}, {"stepz": {}}, [{"name": "a"}, {"name": "a"}]])
def test_what_is_no_plan_is_refused(data: object) -> None:
    with pytest.raises(PlanError, match="act: "):
        expanded(data, (), CHILD, "act")


def test_fan_outs_are_bounded_however_deep_they_are() -> None:
    inner = {"name": "inner", "steps": {"a": {"task": "t.ok", "with": {"a": "{{ item }}"}, "for_each": [0] * 6}}}
    steps = {
        "one": {"task": "t.ok", "with": {"a": 1}},
        "two": {"plan": inner, "for_each": "{{ steps.one.output }}", "max_items": 9},
    }
    with pytest.raises(PlanError, match=r"two\.a: it has 6 items, and may have 5"):
        expanded({"steps": steps}, (), CHILD, "act")
    inner["steps"]["a"]["for_each"] = "{{ inputs.x }}"  # type: ignore[index]  # a mapping of mappings
    inner["inputs"] = {"x": {"default": []}}
    plan, source = expanded({"steps": steps}, (), CHILD, "act")
    assert source["steps"]["two"]["max_items"] == 5
    assert source["steps"]["two"]["plan"]["steps"]["a"]["max_items"] == 5
    assert {step.path: step.max_items for step in plan.steps} == {"one": None, "two/inputs": 5, "two": 5}


@pytest.mark.parametrize(
    ("clause", "told"),
    [
        ({"model": "openai/gpt-5"}, "nothing of model"),
        ({"budget": {"max_usd": 1000}}, "nothing of budget"),
        ({"needs": {"reasoning": "high"}}, "nothing of needs"),
        ({"cache": False}, "nothing of cache"),
        ({"invalidates": ["all"]}, "nothing of invalidates"),
        ({"check": {"command": ["rm", "-rf", "."]}}, "runs no command"),
        ({"check": {"judge": "Is it good?", "model": "openai/gpt-5"}}, "names no model"),
        ({"with": {"a": [{"header": "secret://prices-token"}]}}, "names no secret"),
        ({"with": {"a": "secret://{{ inputs.name }}"}}, "names no secret"),
    ],
)
@pytest.mark.parametrize("deep", [False, True])
def test_it_says_nothing_of_money_and_names_no_secret(clause: dict[str, object], told: str, deep: bool) -> None:
    step: dict[str, object] = {"task": "t.ok", "with": {"a": 1}, **clause}
    steps = {"one": {"plan": {"name": "inner", "steps": {"two": step}}} if deep else step}
    with pytest.raises(PlanError, match=told):
        expanded({"steps": steps}, (), CHILD, "act")


@pytest.mark.parametrize("clause", [{"budget": {"max_usd": 9}}, {"model": "openai/gpt-5"}, {"quality": 0.99}])
def test_a_plan_in_it_says_nothing_of_money_either(clause: dict[str, object]) -> None:
    inner = {"name": "inner", "steps": {"two": {"task": "t.ok", "with": {"a": 1}}}, **clause}
    with pytest.raises(PlanError, match=r"one: a plan made by a step says nothing of"):
        expanded({"steps": {"one": {"plan": inner}}}, (), CHILD, "act")
