"""What compiling says of guesses, and of parents that only a condition asks about."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from engine.dag.compile import compile_plan
from engine.dag.compiled import CompiledPlan
from engine.errors import PlanError
from engine.plan.model import Plan, plan_data, plan_hash


def compiled(**steps: dict[str, Any]) -> CompiledPlan:
    return compile_plan(Plan.model_validate({"name": "p", "steps": {k: {"task": "t", **v} for k, v in steps.items()}}))


def test_parents_that_only_the_condition_asks_about_are_known() -> None:
    plan = compiled(
        ask={}, give={}, wait={}, both={},
        act={
            "when": "steps.ask.output and steps.wait.output and steps.both.output",
            "with": {"a": "{{ steps.give.output }} {{ steps.both.output }}"},
            "after": ["wait"],
        },
    )  # fmt: skip
    names = {step.no: step.path for step in plan.steps}
    act = plan.steps[-1]
    assert [names[no] for no in act.condition_parents] == ["ask"]
    assert {names[no] for no in act.parents} == {"ask", "give", "wait", "both"}


def test_a_guess_is_known_from_both_sides_and_makes_no_edge() -> None:
    plan = compiled(dear={"guess": "cheap"}, cheap={}, use={"with": {"a": "{{ steps.dear.output }}"}})
    by_path = {step.path: step for step in plan.steps}
    assert by_path["dear"].guess == by_path["cheap"].no
    assert by_path["cheap"].guesses == (by_path["dear"].no,)
    assert by_path["dear"].parents == by_path["cheap"].parents == ()


def test_a_guesser_in_its_place_is_short_for_a_step_of_its_own() -> None:
    use = {"with": {"a": "{{ steps.dear.output }}"}}
    short = compiled(first={}, dear={"guess": {"task": "t", "with": {"of": "{{ steps.first.output }}"}}}, use=use)
    long = compiled(
        first={}, dear={"guess": "dear_guess"}, dear_guess={"with": {"of": "{{ steps.first.output }}"}}, use=use
    )  # fmt: skip
    assert short == long
    by_path = {step.path: step for step in short.steps}
    assert by_path["dear"].guess == by_path["dear_guess"].no
    assert by_path["dear_guess"].parents == (by_path["first"].no,)


def test_a_guesser_in_a_sub_plan_is_a_step_of_that() -> None:
    inner = {"name": "inner", "steps": {"dear": {"task": "t", "guess": {"task": "g"}}}}
    plan = compile_plan(Plan.model_validate({"name": "p", "steps": {"s": {"plan": inner}}}))
    by_path = {step.path: step for step in plan.steps}
    assert by_path["s/dear"].guess == by_path["s/dear_guess"].no
    assert by_path["s/dear_guess"].task == "g"


def test_a_plan_with_a_guesser_reads_the_same_once_it_is_stored() -> None:
    plan = Plan.model_validate({"name": "p", "steps": {"dear": {"task": "t", "guess": {"task": "g"}}}})
    again = Plan.model_validate(plan_data(plan))
    assert again == plan and plan_hash(again) == plan_hash(plan)
    assert list(plan.steps) == ["dear", "dear_guess"]


@pytest.mark.parametrize(
    ("steps", "place", "why"),
    [
        ({"dear": {"task": "t", "guess": {"with": {}}}}, ("steps", "dear", "guess"), "Field required"),
        ({"dear": {"task": "t", "guess": {"task": "g", "for_each": [1]}}}, ("steps", "dear", "guess"), "Extra inputs"),
        ({"dear": {"task": "t", "guess": {"task": "g"}}, "dear_guess": {"task": "g"}}, (), "dear_guess, which there"),
    ],
)
def test_a_guesser_that_cannot_be_a_step_is_refused(steps: dict[str, Any], place: tuple[str, ...], why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Plan.model_validate({"name": "p", "steps": steps})
    (error,) = caught.value.errors()
    assert error["loc"][: len(place)] == place
    assert why in error["msg"]


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ({"dear": {"guess": "cheep"}, "cheap": {}}, "there is no step 'cheep'"),
        ({"dear": {"guess": "dear"}}, "cannot guess its own output"),
        ({"dear": {"guess": "cheap", "for_each": [1]}, "cheap": {}}, "neither step may have for_each"),
        (
            {"dear": {"guess": "cheap"}, "mid": {"after": ["dear"]}, "cheap": {"after": ["mid"]}},
            "'cheap' waits for 'dear'",
        ),
        ({"dear": {"guess": "b"}, "a": {"on_failure": {"fall_back": "b"}}, "b": {}}, "so it guesses nothing"),
    ],
)
def test_a_guess_that_cannot_be_one_is_refused(steps: dict[str, Any], why: str) -> None:
    with pytest.raises(PlanError, match=why):
        compiled(**steps)


def test_a_guess_on_a_sub_plan_is_refused() -> None:
    inner = {"name": "inner", "steps": {"a": {"task": "t"}}}
    plan = Plan.model_validate({"name": "p", "steps": {"s": {"plan": inner, "guess": "g"}, "g": {"task": "t"}}})
    with pytest.raises(PlanError, match="not supported on a sub-plan"):
        compile_plan(plan)
