"""What has to be known before something is read ahead for a step, as it is written down with the plan."""

from __future__ import annotations

from typing import Any

import pytest

from engine.dag.compile import compile_plan, freeze_task_defaults
from engine.dag.compiled import CompiledStep, Prefetch
from engine.dag.task_facts import facts_data, facts_of, facts_of_type
from engine.errors import UsageError
from engine.plan.decorators import task
from engine.plan.model import Plan, plan_data
from engine.plan.registry import Registry
from engine.plan.tasktype import TaskContext

REGISTRY = Registry()


def look(context: TaskContext, url: str, form: str = "text") -> str:
    return url + form


@task("t.read", effects="none", prefetch=look, registry=REGISTRY)
def read(context: TaskContext, url: str, times: int = 1, form: str = "text") -> str:
    return (context.prefetched() or look(context, url, form)) * times


@task("t.plain", effects="none", registry=REGISTRY)
def plain() -> int:
    return 1


def compiled(**step: Any) -> dict[str, CompiledStep]:
    """The steps of a plan as the scheduler compiles them: from what was stored, without the task modules."""
    steps = {"first": {"task": "t.plain"}, "other": {"task": "t.plain"}, "it": {"task": "t.read", **step}}
    plan = Plan.model_validate({"name": "p", "inputs": {"a": {}, "b": {}}, "steps": steps})
    stored = plan_data(freeze_task_defaults(plan, REGISTRY))
    return {each.path: each for each in compile_plan(Plan.model_validate(stored)).steps}


def test_only_what_its_arguments_refer_to_has_to_be_known() -> None:
    steps = compiled(
        with_={"url": "{{ inputs.a }}/{{ steps.first.output }}", "times": "{{ steps.other.output + inputs.b }}"}
    )
    assert steps["it"].prefetch == Prefetch(("url",), (steps["first"].no,), frozenset({"a"}))
    assert steps["first"].prefetch is None


def test_a_plan_compiled_with_its_task_types_at_hand_says_the_same() -> None:
    plan = Plan.model_validate({"name": "p", "steps": {"it": {"task": "t.read", "with": {"url": "x"}}}})
    assert compile_plan(plan, REGISTRY).steps[0].prefetch == Prefetch(("url",))


def test_an_author_may_say_no_and_a_fan_out_is_not_read_ahead_for() -> None:
    assert compiled(with_={"url": "x"}, prefetch=False)["it"].prefetch is None
    assert compiled(with_={"url": "{{ item }}"}, for_each=["x", "y"])["it"].prefetch is None


def test_a_list_that_an_author_wrote_is_replaced_by_what_the_task_type_says() -> None:
    assert compiled(with_={"url": "x"}, prefetch=["times"])["it"].prefetch == Prefetch(("url",))


def test_what_is_kept_of_task_types_for_plans_made_by_steps_says_it_too() -> None:
    facts = facts_of_type(REGISTRY.get("t.read"))
    assert facts.prefetch == ("form", "url")
    assert facts_of(facts_data(facts)) == facts
    assert "prefetch" not in facts_data(facts_of_type(REGISTRY.get("t.plain")))


def test_its_function_takes_arguments_of_the_task_only() -> None:
    def wrong(path: str) -> str:
        return path

    with pytest.raises(UsageError, match="takes the arguments path, which the task has not"):
        task("t.wrong", prefetch=wrong, registry=Registry())(plain.task_type.function)


def test_the_code_that_reads_ahead_is_part_of_the_tasks_code() -> None:
    alone = task("t.alone", effects="none", registry=Registry())(read.task_type.function)
    assert alone.task_type.code_hash != read.task_type.code_hash


def test_called_as_a_function_nothing_was_read_ahead() -> None:
    assert read(url="x", times=2) == "xtextxtext"
