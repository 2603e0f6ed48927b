"""What must hold of anything that is read: our errors or none, soon, and what is sound stays what it is."""

from __future__ import annotations

import json
import time
from typing import Any

from engine.dag.whole import whole_plan
from engine.errors import NotFound, Permanent, PlanError, UsageError
from engine.plan import expressions, templates
from engine.plan.files import read_plan
from engine.plan.model import Plan, plan_hash
from engine.plan.registry import load_task_modules
from engine.plan.writing import plan_yaml

LIMIT_S = 2.0
"""Processor seconds that any one of these small inputs may take."""

REGISTRY = load_task_modules(["tasks"])
ENVIRONMENT: dict[str, Any] = {
    "inputs": {"a": [1, "b", None], "big": list(range(5_000))},
    "steps": {"a": {"output": {"x": ["y", 2.5], "items": {}}, "state": "succeeded", "error": None, "count": 1}},
    "item": {"n": 1},
    "index": 0,
    "run": {"id": "r_1"},
}


def check_file(raw: bytes) -> None:
    """A plan file: refused with places, or sound, the same after printing, and all that holds for JSON too."""
    for file in ("plan.yaml", "plan.json"):
        start = time.thread_time()
        try:
            plan, _ = whole_plan(lambda file=file: read_plan(raw, file), _no_plan, REGISTRY)  # type: ignore[misc]
        except PlanError as error:
            assert error.problems
            assert all(problem.message and len(problem.message) < 4_000 for problem in error.problems), error.problems
            assert all(problem.file == file for problem in error.problems), error.problems
        else:
            assert plan_hash(read_plan(plan_yaml(plan).encode(), "again.yaml")) == plan_hash(plan)
        _check_time(start, raw)


def check_expression(text: str) -> None:
    """A condition: a value or a ``UsageError``."""
    start = time.thread_time()
    expressions.references(text)
    try:
        expressions.evaluate(text, ENVIRONMENT)
    except UsageError as error:
        assert len(str(error)) < 4_000, str(error)[:200]
    _check_time(start, text)


def check_template(text: str) -> None:
    """A template: data or a ``Permanent``."""
    start = time.thread_time()
    templates.references(text)
    try:
        rendered = templates.render(text, ENVIRONMENT)
    except Permanent as error:
        assert len(str(error)) < 4_000, str(error)[:200]
    else:
        json.dumps(rendered)
    _check_time(start, text)


def _no_plan(name: str) -> Plan:
    raise NotFound(f"there is no plan {name!r}")


def _check_time(start: float, given: bytes | str) -> None:
    took_s = time.thread_time() - start
    assert took_s < LIMIT_S, f"{took_s:.1f} s for {given[:200]!r}"
