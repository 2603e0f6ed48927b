"""Conditions: what they may say, and that whatever they may not say ends at once."""

from __future__ import annotations

import time
from typing import Any

import pytest

from engine.errors import UsageError
from engine.plan.expressions import evaluate, references

ENVIRONMENT: dict[str, Any] = {
    "inputs": {"y": 2, "big": list(range(100_000))},
    "steps": {"a": {"output": {"score": 0.7, "items": [1, 2, 3]}, "state": "succeeded"}},
    "item": {"n": 3},
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("steps.a.output.score > 0.5 and inputs.y == 2", True),
        ("len(steps.a.output.items) == 3", True),
        ("any(x > 2 for x in steps.a.output.items)", True),
        ("steps['a'].state in ['succeeded', 'skipped']", True),
        ("not contains('abc', 'x') and startswith('abc', 'a') and lower('A') == 'a'", True),
        ("item.n if true else null", 3),
        ("max(inputs.big)", 99_999),
    ],
)
def test_a_condition_reads_data(expression: str, value: Any) -> None:
    assert evaluate(expression, ENVIRONMENT) == value


@pytest.mark.parametrize(
    "expression",
    [
        "", "x := 1", "import os", "lambda: 1", "f'{1:1000000000d}'", "().__class__", "steps.a.output.items.append(1)",
        "10 ** 10 ** 10", "'a' * 10**9", "'%1000000000d' % 1", "[1 for a in inputs.big for b in inputs.big]",
        "[[1 for b in inputs.big[:9999]] for a in inputs.big[:9999]]", "(" * 500 + "1" + ")" * 500, "-" * 3000 + "1",
        "len", "len(1)", "1 / 0", "steps.a.output.nothing", "absent", "open('x')", "(" * 40 + "1" + ")" * 40 + "(1)",
        "any(any(x in inputs.big for x in inputs.big) for y in inputs.big)", "1 " * 40_000,
    ],
    ids=lambda expression: expression[:30],
)  # fmt: skip
def test_what_is_no_condition_is_refused_at_once(expression: str) -> None:
    start = time.thread_time()
    with pytest.raises(UsageError):
        evaluate(expression, ENVIRONMENT)
    assert time.thread_time() - start < 0.5


def test_an_error_holds_the_expression_and_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"'steps.a.outpt > 1'.*did you mean 'output'"):
        evaluate("steps.a.outpt > 1", ENVIRONMENT)


def test_references_leave_local_names_and_functions_out() -> None:
    found = references("any(x > inputs.y for x in steps.a.output) and len(item) > 1")
    assert found.steps == {"a"}
    assert found.inputs == {"y"}
    assert found.uses_item
    assert not found.problems
    assert "did you mean 'len'" in references("lne(3)").problems[0]
