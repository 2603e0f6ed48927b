"""A plan printed as YAML is the same plan again, however it was written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.plan.decorators import plan, task
from engine.plan.files import read_plan
from engine.plan.model import Plan, plan_hash
from engine.plan.registry import Registry
from engine.plan.writing import plan_yaml


def again(written: Plan) -> Plan:
    return read_plan(plan_yaml(written).encode(), "again.yaml")


def with_argument(value: Any) -> Plan:
    return Plan.model_validate({"name": "p", "steps": {"a": {"task": "t.x", "with": {"x": value}}}})


@pytest.mark.parametrize(
    "value",
    ["on", "no", "12:30", "1e3", "0o17", "0x1f", "1_000", ".5", "", "~", "null", "<<", "=", "2024-01-01", " x", "x\n",
     "a\nb", "a\n  b\n\n", "\ta\nb", "{{ steps.a.output }}", "# no", "- x", "é😀", "\x07", "\u2028", 'a"b\\', "x" * 500,
     1e20, -0.5, 10**18, True, None, [], {}, {"on": 1, "1": {"~": []}}],
    ids=repr,
)  # fmt: skip
def test_every_value_survives(value: Any) -> None:
    assert again(with_argument(value)).steps["a"].with_["x"] == value


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBER = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_any_value_survives(value: Any) -> None:
    written = with_argument(value)
    assert plan_hash(again(written)) == plan_hash(written)


def test_a_python_plan_printed_has_its_own_version() -> None:
    registry = Registry()

    @task("demo.pick", effects="none", registry=registry)
    def pick(items: list[str], first: bool = True) -> str:
        return items[0 if first else -1]

    @plan("picked", deadline="2h", tags=["a", "1e3"])
    def picked(items: list[str], mark: str = "0o7") -> dict[str, str]:
        """Two lines
        of description."""
        one = pick.options(retry={"attempts": 3, "on": ["TimeoutError"]})(items)
        return {"one": one, "two": pick.options(when=one != mark)(items, first=False)}

    assert plan_hash(again(picked.plan)) == plan_hash(picked.plan)
    assert again(picked.plan) == picked.plan
