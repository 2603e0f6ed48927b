"""The shipped plan dependency-audit: it loads, compiles, and its steps fit together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import dags
import settings
from engine.dag.compile import compile_plan
from engine.dag.compiled import JoinKind
from engine.plan.binding import bind, dump
from engine.plan.files import check_inputs, load_plan
from engine.plan.registry import load_task_modules
from engine.plan.templates import render

PLAN = Path(dags.__file__).with_name("dependency-audit.yaml")


@pytest.fixture
def registry():
    return load_task_modules(["tasks"])


def test_it_compiles_with_fan_out_retry_and_a_tolerant_join(registry):
    steps = {step.path: step for step in compile_plan(load_plan(PLAN), registry).steps}
    assert steps["inspect"].fanned and steps["inspect"].retry.attempts == 3
    assert (steps["report"].join.kind, steps["report"].join.share) == (JoinKind.TOLERATE, 0.2)
    assert {path: step.effects for path, step in steps.items()} == {
        "list": "none",
        "inspect": "none",
        "report": "none",
        "write_markdown": "idempotent",
        "write_json": "idempotent",
    }
    assert {steps[name].queue for name in ("inspect", "report")} == {"cpu"}


def test_its_steps_hand_over_what_the_next_one_takes(registry, context, root):
    given = replace(context, settings=settings.load(file_write_roots=(root,)))
    plan = load_plan(PLAN)
    world = {"inputs": check_inputs(plan, {"report_dir": "out"}), "steps": {}, "run": {"scheduled_for": None}}

    def node(step, **own):
        task_type = registry.get(step.task)
        arguments = render(dict(step.with_), world | own)
        return dump(task_type, task_type.function(**bind(task_type, arguments, given)))

    for compiled in compile_plan(plan, registry).steps:
        step = plan.steps[compiled.path]
        if step.for_each is None:
            output = node(step)
        else:
            items = render(step.for_each, world)
            output = [node(step, item=item, index=index) for index, item in enumerate(items[:5])] + [None] * (
                len(items) - 5
            )
        world["steps"][compiled.path] = {"output": output}

    outputs = render(plan.outputs, world)
    assert outputs["counts"]["inspected"] == 5
    assert (root / "out/report.md").read_text("utf-8").startswith("# Dependency licence audit\n")
    document = json.loads((root / "out/report.json").read_text("utf-8"))
    assert outputs["json"] == str(root / "out/report.json")
    assert document["totals"]["distributions"] == outputs["counts"]["distributions"]
