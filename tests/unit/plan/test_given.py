"""Inputs of sub-plans are taken as those of runs are: fitted to their types, or refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import Permanent, UsageError
from engine.plan.given import declared_inputs, fitting
from engine.plan.model import Plan
from engine.plan.registry import load_task_modules

PLAN = Plan.model_validate({
    "name": "inner",
    "inputs": {
        "count": {"type": "integer"}, "note": {"type": "string", "default": "x"}, "rows": {"type": "list"},
        "whatever": {},
    },
    "steps": {"one": {"task": "t.x"}},
})  # fmt: skip
DECLARED = declared_inputs(PLAN)


def test_what_fits_is_taken_as_the_type_that_was_declared() -> None:
    given = {"count": "12", "note": 7, "rows": [1], "whatever": {"a": None}}
    assert fitting(given, DECLARED) == {"count": 12, "note": "7", "rows": [1], "whatever": {"a": None}}


def test_an_optional_input_may_be_null_and_what_is_not_given_is_not_asked_for() -> None:
    assert fitting({"note": None}, DECLARED) == {"note": None}


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("count", "many", "input 'count': expected integer, given string \"many\""),
        ("count", None, "input 'count': expected integer, given null"),
        ("count", 1.5, "input 'count': expected integer, given number 1.5"),
        ("count", "m" * 100, "input 'count': expected integer, given string of 100 characters"),
        ("rows", {"a": 1, "b": 2}, "input 'rows': expected list, given object of 2"),
        ("note", [1, 2, 3], "input 'note': expected string, given list of 3"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(name: str, value: Any, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        fitting({name: value}, DECLARED)
    assert str(caught.value) == told


def test_the_task_that_makes_inputs_fails_for_good_and_names_them_all() -> None:
    function = load_task_modules([]).get("plan.inputs").function
    with pytest.raises(Permanent, match=r"input 'count': .*; input 'rows': "):
        function({"count": "many", "rows": "none"}, DECLARED)
