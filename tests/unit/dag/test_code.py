"""Which code a step's results come from."""

from __future__ import annotations

from engine.dag.code import step_code, tasks_used
from engine.dag.compile import compile_plan
from engine.plan.model import Plan

BELOW = {
    "name": "below",
    "inputs": {"n": {"required": True}},
    "steps": {"one": {"task": "a.b"}, "two": {"task": "c.d"}},
}
PLAN = compile_plan(
    Plan.model_validate(
        {
            "name": "above",
            "steps": {
                "plain": {"task": "a.b"},
                "each": {"plan": BELOW, "for_each": [1, 2], "with": {"n": "{{ item }}"}},
                "inside": {"plan": BELOW, "with": {"n": 1}},
            },
        }
    )
)
HASHES = {"a.b": "1", "c.d": "2", "plan.inputs": "", "plan.outputs": ""}


def code_of(path: str, **changes: str) -> str | None:
    (step,) = (step for step in PLAN.steps if step.path == path)
    return step_code(step, HASHES | changes)


def test_a_plain_step_has_its_tasks_hash() -> None:
    assert (code_of("plain"), code_of("inside/two")) == ("1", "2")


def test_a_step_whose_nodes_are_runs_has_one_hash_of_all_that_they_use() -> None:
    before = code_of("each")
    assert before is not None
    assert before != code_of("each", **{"c.d": "3"})
    assert before == code_of("each", **{"e.f": "3"})


def test_nothing_is_told_of_runs_that_use_a_task_nobody_knows() -> None:
    (step,) = (step for step in PLAN.steps if step.path == "each")
    assert step_code(step, {"a.b": "1"}) is None


def test_the_engines_own_steps_have_none() -> None:
    assert [code_of(path) for path in ("each/inputs", "inside", "inside/inputs")] == [None, None, None]


def test_every_task_of_the_runs_below_is_named() -> None:
    assert {"a.b", "c.d"} <= tasks_used(PLAN)
