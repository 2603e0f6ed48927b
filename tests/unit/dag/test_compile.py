"""Compiling: edges, numbering, joins, fall-backs, sub-plans, and every problem at once."""

from __future__ import annotations

import time
from typing import Any

import pytest

from engine.dag.compile import compile_plan, freeze_task_defaults, upward_ranks
from engine.dag.compiled import CompiledPlan, CompiledStep, Join, JoinKind, OnFailure
from engine.dag.graph import critical_path, generations, to_networkx
from engine.errors import PlanError
from engine.plan.decorators import task
from engine.plan.model import Plan
from engine.plan.registry import Registry


def plan_of(steps: dict[str, Any], **fields: Any) -> Plan:
    return Plan.model_validate({"name": "p", "steps": steps, **fields})


def step_of(compiled: CompiledPlan, path: str) -> CompiledStep:
    return next(step for step in compiled.steps if step.path == path)


def parents_of(compiled: CompiledPlan, path: str) -> list[str]:
    return [compiled.steps[no].path for no in step_of(compiled, path).parents]


def problems_of(steps: dict[str, Any], **fields: Any) -> str:
    with pytest.raises(PlanError) as caught:
        compile_plan(plan_of(steps, **fields))
    return str(caught.value)


def test_references_conditions_fan_outs_and_after_make_edges() -> None:
    compiled = compile_plan(
        plan_of({
            "a": {"task": "t.x"},
            "b": {"task": "t.x", "when": "steps.a.output > 1"},
            "c": {"task": "t.x", "for_each": "{{ steps.b.output }}", "with": {"x": "{{ item }}"}},
            "d": {"task": "t.x", "with": {"deep": [{"x": "got {{ steps.c.output }}"}]}, "after": ["a"]},
        })
    )  # fmt: skip
    assert [step.path for step in compiled.steps] == ["a", "b", "c", "d"]
    assert parents_of(compiled, "d") == ["a", "c"]
    assert step_of(compiled, "d").reads == (2,)
    assert step_of(compiled, "d").names == {"c": 2}
    assert step_of(compiled, "b").reads == ()
    assert step_of(compiled, "b").names == {"a": 0}
    assert step_of(compiled, "a").children == (1, 3)
    assert step_of(compiled, "c").fanned


def test_the_order_of_writing_changes_neither_numbers_nor_version() -> None:
    steps = {"b": {"task": "t.x"}, "a": {"task": "t.x"}, "c": {"task": "t.x", "after": ["a", "b"]}}
    forward, backward = compile_plan(plan_of(steps)), compile_plan(plan_of(dict(reversed(steps.items()))))
    assert forward == backward
    assert [step.path for step in forward.steps] == ["a", "b", "c"]


def test_every_problem_comes_at_once_with_its_place_and_the_nearest_name() -> None:
    told = problems_of(
        {
            "scan": {"task": "t.x", "with": {"a": "{{ inputs.rot }}", "b": "{{ item }}"}},
            "use": {"task": "t.x", "with": {"a": "{{ steps.scn.output }}", "b": "{{ steps.scan.outpt }}"}},
            "more": {"task": "t.x", "after": ["sacn"], "when": "lne(inputs.root)", "join": {"at_least": 2}},
        },
        inputs={"root": {"type": "string"}},
        outputs={"x": "text {{ steps.scan.output }}", "y": "{{ steps.usee.output }}"},
    )
    for part in (
        "steps.scan.with.a: there is no input 'rot'; did you mean 'root'?",
        "'item' and 'index' mean something only",
        "steps.use.with.a: there is no step 'scn'; did you mean 'scan'?",
        "steps.scan has no 'outpt'; did you mean 'output'?",
        "steps.more.after.0: there is no step 'sacn'; did you mean 'scan'?",
        "there is no function 'lne'; did you mean 'len'?",
        "at_least 2 of 0 parents can never hold",
        "outputs.x: 'text {{ steps.scan.output }}' is no lone reference",
        "there is no step 'usee'; did you mean 'use'?",
    ):
        assert part in told


def test_a_cycle_is_printed_as_a_path() -> None:
    told = problems_of({
        "a": {"task": "t.x", "after": ["c"]},
        "b": {"task": "t.x", "after": ["a"]},
        "c": {"task": "t.x", "with": {"x": "{{ steps.b.output }}"}},
        "d": {"task": "t.x", "after": ["c", "d"]},
    })  # fmt: skip
    assert "steps wait for each other: a -> b -> c -> a" in told


def test_task_types_and_their_arguments_are_checked_where_a_registry_is_given() -> None:
    registry = Registry()

    @task("text.shout", effects="none", queue="cpu", timeout="5s", registry=registry)
    def shout(text: str, times: int = 1) -> str:
        return text * times

    with pytest.raises(PlanError) as caught:
        compile_plan(
            plan_of({"a": {"task": "text.shuot"}, "b": {"task": "text.shout", "with": {"txt": "x"}}}), registry
        )
    told = str(caught.value)
    assert "did you mean 'text.shout'" in told
    assert "has no argument 'txt'; did you mean 'text'" in told
    assert "needs the argument 'text'" in told

    plan = plan_of({"b": {"task": "text.shout", "with": {"text": "x"}}})
    frozen = compile_plan(freeze_task_defaults(plan, registry))
    step = frozen.steps[0]
    assert (step.effects, step.queue, step.timeout_s, step.skill) == ("none", "cpu", 5.0, "text.shout")
    assert compile_plan(plan).steps[0].effects == "external"


def test_a_fall_back_hangs_below_the_failing_step_and_before_its_consumers() -> None:
    compiled = compile_plan(
        plan_of({
            "a": {"task": "t.x", "on_failure": {"fall_back": "z"}},
            "b": {"task": "t.x", "with": {"x": "{{ steps.a.output }}"}},
            "z": {"task": "t.x", "with": {"why": "{{ steps.a.error }}"}},
        })
    )  # fmt: skip
    a, b, z = (step_of(compiled, name) for name in "abz")
    assert (a.no, z.no, b.no) == (0, 1, 2)
    assert (a.on_failure, a.fallback, z.fallback_of, z.parents) == (OnFailure.FALL_BACK, z.no, a.no, (a.no,))


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ({"a": {"task": "t.x", "on_failure": {"fall_back": "bb"}}, "b": {"task": "t.x"}}, "there is no step 'bb'"),
        ({"a": {"task": "t.x", "on_failure": {"fall_back": "a"}}}, "cannot stand in for itself"),
        (
            {"a": {"task": "t.x", "for_each": [1], "on_failure": {"fall_back": "b"}}, "b": {"task": "t.x"}},
            "a step with for_each cannot fall back",
        ),
        (
            {
                "a": {"task": "t.x", "on_failure": {"fall_back": "b"}},
                "b": {"task": "t.x", "after": ["c"]},
                "c": {"task": "t.x", "after": ["a"]},
            },
            "wait for each other",
        ),
        (
            {
                "a": {"task": "t.x", "on_failure": {"fall_back": "b"}},
                "b": {"task": "t.x"},
                "c": {"task": "t.x", "after": ["b"]},
            },
            "'b' runs only in place of 'a'",
        ),
    ],
)
def test_fall_backs_that_cannot_work_are_refused(steps: dict[str, Any], told: str) -> None:
    assert told in problems_of(steps)


INNER = {
    "name": "inner",
    "inputs": {"root": {"type": "string"}, "mark": {"default": "{{ data }}"}},
    "steps": {
        "one": {"task": "t.x", "with": {"root": "{{ inputs.root }}"}},
        "two": {"task": "t.x", "with": {"x": "{{ steps.one.output }}", "mark": "{{ inputs.mark }}"}},
    },
    "outputs": {"last": "{{ steps.two.output }}"},
}


def test_a_sub_plan_is_written_in_between_its_two_ends() -> None:
    compiled = compile_plan(
        plan_of(
            {
                "first": {"task": "t.x"},
                "sub": {"plan": INNER, "with": {"root": "{{ steps.first.output }}"}, "when": "inputs.go"},
                "last": {"task": "t.x", "with": {"x": "{{ steps.sub.output.last }}"}},
            },
            inputs={"go": {"type": "boolean"}},
        )
    )
    assert [step.path for step in compiled.steps] == ["first", "sub/inputs", "sub/one", "sub/two", "sub", "last"]
    enter, one, two, leave = compiled.steps[1:5]
    assert (enter.task, enter.when, enter.effects, enter.inputs_step) == ("plan.inputs", "inputs.go", "none", None)
    values = {"root": "{{ steps.first.output }}", "mark": '{{ "{{ data }}" }}'}
    assert enter.with_ == {"values": values, "declared": {"root": {"type": "string", "required": True}}}
    assert (one.inputs_step, two.inputs_step, leave.inputs_step) == (1, 1, 1)
    assert parents_of(compiled, "sub/one") == ["sub/inputs"]
    assert two.names == {"one": one.no}
    assert (leave.task, leave.with_, leave.join) == (
        "plan.outputs",
        {"value": {"last": "{{ steps.two.output }}"}},
        Join(JoinKind.ALL),
    )
    assert parents_of(compiled, "sub") == ["sub/two"]
    assert parents_of(compiled, "last") == ["sub"]


def test_a_sub_plan_with_a_condition_inside_ends_well_though_steps_are_skipped() -> None:
    inner = {
        "name": "inner",
        "steps": {
            "one": {"task": "t.x"},
            "tell": {"task": "t.x", "after": ["one"], "when": "steps.one.output > 3"},
            "clean": {"task": "t.x", "after": ["one"], "join": "all_done"},
        },
    }
    compiled = compile_plan(plan_of({"sub": {"plan": inner}}))
    leave, clean = step_of(compiled, "sub"), step_of(compiled, "sub/clean")
    assert leave.join.kind is JoinKind.ALL_DONE
    assert leave.when is not None
    assert leave.when.startswith("steps.inputs.state == 'succeeded' and 'failed' not in [")
    assert leave.names["inputs"] == 0
    assert clean.when == "steps.inputs.state == 'succeeded'"


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ({"plan": INNER, "with": {"root": "x"}, "for_each": [1], "pools": ["db"]}, "steps.sub.pools: not supported"),
        ({"plan": INNER, "with": {"root": "x"}, "timeout": 3}, "steps.sub.timeout: not supported on a sub-plan"),
        ({"plan": INNER, "with": {"rot": "x"}}, "has no input 'rot'; did you mean 'root'"),
        ({"plan": INNER}, "needs the input 'root'"),
        ({"plan": INNER, "with": {"root": [1]}}, "steps.sub.with.root: no string"),
        ({"plan": "elsewhere"}, "resolve the plan first"),
    ],
)
def test_sub_plans_that_cannot_work_are_refused(step: dict[str, Any], told: str) -> None:
    assert told in problems_of({"sub": step})


def test_a_problem_inside_a_sub_plan_says_where() -> None:
    inner = {"name": "inner", "steps": {"one": {"task": "t.x", "after": ["tow"]}, "two": {"task": "t.x"}}}
    assert "steps.sub.plan.steps.one.after.0: there is no step 'tow'" in problems_of({"sub": {"plan": inner}})


def diamond() -> CompiledPlan:
    return compile_plan(
        plan_of({
            "a": {"task": "t.x"},
            "b": {"task": "t.x", "after": ["a"]},
            "c": {"task": "t.x", "after": ["a"]},
            "d": {"task": "t.x", "after": ["a", "b", "c"]},
            "e": {"task": "t.x"},
        })
    )  # fmt: skip


def test_ranks_generations_and_critical_path_agree() -> None:
    compiled = diamond()
    paths = [step.path for step in compiled.steps]
    seconds = {"c": 10.0}
    assert dict(zip(paths, upward_ranks(compiled, seconds), strict=True)) == {"a": 12, "b": 2, "c": 11, "d": 1, "e": 1}
    assert critical_path(compiled, seconds) == ["a", "c", "d"]
    assert [[paths[no] for no in level] for level in generations(compiled)] == [["a", "e"], ["b", "c"], ["d"]]
    assert to_networkx(compiled).number_of_edges() == 5


def layered(count: int) -> Plan:
    width = max(count // 20, 3)
    steps: dict[str, Any] = {}
    for number in range(count):
        steps[f"s{number}"] = {"task": "t.x"}
        if number >= width:
            base = (number // width - 1) * width
            parents = [base + (number * 7 + k * 13) % width for k in range(3)]
            steps[f"s{number}"]["with"] = {f"p{k}": f"{{{{ steps.s{p}.output.x }}}}" for k, p in enumerate(parents)}
    return plan_of(steps)


def test_compiling_grows_with_the_number_of_steps_and_no_faster() -> None:
    small, large = layered(2_000), layered(16_000)

    def seconds(plan: Plan) -> float:
        start = time.thread_time()
        compile_plan(plan)
        return time.thread_time() - start

    seconds(small)  # caches
    quick = min(seconds(small) for _ in range(2))
    assert quick < 0.5
    assert seconds(large) < max(quick, 0.05) * 8 * 4


def test_a_list_of_more_items_than_its_step_may_have_is_a_problem() -> None:
    step = {"task": "t.x", "for_each": [1, 2, 3], "with": {"a": "{{ item }}"}, "max_items": 2}
    with pytest.raises(PlanError, match="it has 3 items, and may have 2"):
        compile_plan(plan_of({"one": step}))
    assert compile_plan(plan_of({"one": step | {"max_items": 3}})).steps[0].max_items == 3
