"""Which results a rerun takes over, and what it says of the others."""

from __future__ import annotations

from typing import Any

from engine.api.rerun import Fate, StepFate, fates, reuse_of
from engine.dag.code import step_code
from engine.dag.compile import compile_plan
from engine.dag.compiled import CompiledPlan
from engine.plan.model import Plan
from engine.scheduling.records import StepState
from engine.store.reuse import Reuse
from engine.store.views import StepView

STEPS: dict[str, Any] = {
    "find": {"task": "files.find", "with": {"path": "{{ inputs.path }}"}},
    "inspect": {"task": "my.inspect", "for_each": "{{ steps.find.output }}", "with": {"file": "{{ item }}"}},
    "report": {"task": "my.report", "with": {"rows": "{{ steps.inspect.output }}"}},
    "note": {"task": "my.note", "with": {"day": "{{ inputs.day }}"}},
}
CODE = {"files.find": "f", "my.inspect": "i", "my.report": "r", "my.note": "n", "plan.inputs": "", "plan.outputs": ""}
INPUTS = {"path": {"default": "."}, "day": {"default": "today"}}


def compiled(**changes: Any) -> CompiledPlan:
    steps = {name: {**STEPS.get(name, {}), **step} for name, step in (STEPS | changes).items()}
    return compile_plan(Plan.model_validate({"name": "audit", "inputs": INPUTS, "steps": steps}))


PLAN = compiled()


def ended(plan: CompiledPlan = PLAN, **changes: dict[str, Any]) -> list[StepView]:
    """The steps of a run in which everything succeeded, but for ``changes`` by path."""
    views = []
    for step in plan.steps:
        facts: dict[str, Any] = {
            "step_no": step.no, "path": step.path, "task": step.task, "queue": "io", "phase": "execution",
            "skill": step.task, "effects": "none", "fanned": step.fanned, "parents": step.parents,
            "join_kind": "all", "attempts_max": 1, "state": StepState.SUCCEEDED, "reason": "", "tolerated": False,
            "count": 3 if step.fanned else 1, "succeeded": 3 if step.fanned else 1, "failed": 0, "skipped": 0,
            "expanded_at": 1.0, "finished_at": 2.0, "code_hash": step_code(step, CODE),
        }  # fmt: skip
        views.append(StepView(**facts | changes.get(step.path, {})))
    return views


FAILED = {"state": StepState.FAILED, "succeeded": 2, "failed": 1}
SKIPPED = {"state": StepState.SKIPPED, "succeeded": 0, "count": None}


def told(steps: list[StepFate]) -> dict[str, tuple[str, str]]:
    return {step.path: (step.fate.value, step.why) for step in steps}


TAKEN = ("taken over", "")


def test_a_run_of_which_nothing_failed_or_changed_is_taken_over_whole() -> None:
    found = fates(PLAN, PLAN, ended(), CODE)
    assert {step.fate for step in found} == {Fate.TAKEN}
    assert [step.nodes_taken for step in found if step.path == "inspect"] == [3]


def test_what_failed_runs_again_with_all_below_it_but_not_what_succeeded_of_a_fan_out() -> None:
    found = fates(PLAN, PLAN, ended(inspect=FAILED, report=SKIPPED), CODE)
    assert told(found) == {
        "find": TAKEN, "note": TAKEN, "inspect": ("partly", "failed"), "report": ("runs again", "below inspect"),
    }  # fmt: skip
    number = {step.path: step.no for step in PLAN.steps}
    assert reuse_of("r_1", found) == Reuse(
        "r_1", {number[name]: number[name] for name in ("find", "note")}, {number["inspect"]: number["inspect"]}
    )


def test_changed_code_runs_again_with_all_below_it_and_is_named_as_the_reason() -> None:
    found = told(fates(PLAN, PLAN, ended(), CODE | {"files.find": "other"}))
    assert found["find"] == ("runs again", "code changed")
    assert found["report"] == ("runs again", "below find")
    assert found["note"] == TAKEN


def test_nothing_of_a_fan_out_is_taken_over_that_other_code_made() -> None:
    changed = CODE | {"my.inspect": "other"}
    found = fates(PLAN, PLAN, ended(inspect=FAILED, report=SKIPPED), changed)
    assert told(found)["inspect"] == ("runs again", "code changed")
    kept = told(fates(PLAN, PLAN, ended(inspect=FAILED, report=SKIPPED), changed, keep=True))
    assert kept["inspect"] == ("partly", "failed")


def test_what_other_code_made_is_kept_where_that_is_asked_for_and_it_says_so() -> None:
    found = told(fates(PLAN, PLAN, ended(), CODE | {"my.note": "other"}, keep=True))
    assert found["note"] == ("taken over", "code changed, kept all the same")


def test_code_that_is_not_known_then_or_now_counts_as_the_same() -> None:
    assert told(fates(PLAN, PLAN, ended(note={"code_hash": None}), CODE))["note"] == TAKEN
    assert told(fates(PLAN, PLAN, ended(), {}))["note"] == TAKEN


def test_a_skipped_step_has_no_results_that_other_code_made() -> None:
    assert told(fates(PLAN, PLAN, ended(note=SKIPPED), CODE | {"my.note": "other"}))["note"] == TAKEN


def test_a_step_that_was_asked_for_runs_again_with_all_below_it() -> None:
    number = {step.path: step.no for step in PLAN.steps}
    found = told(fates(PLAN, PLAN, ended(), CODE, again=[number["inspect"]]))
    assert found["inspect"] == ("runs again", "asked for")
    assert found["report"] == ("runs again", "below inspect")
    assert found["find"] == TAKEN


def test_a_changed_plan_keeps_what_it_does_not_touch_whatever_its_number_is_now() -> None:
    new = compiled(
        aaa={"task": "my.note", "with": {"day": "now"}},
        report={"task": "my.report", "with": {"rows": "{{ steps.inspect.output }}", "title": "new"}},
    )
    found = fates(PLAN, new, ended(), CODE)
    assert told(found) == {
        "aaa": ("new", ""), "find": TAKEN, "note": TAKEN, "inspect": TAKEN,
        "report": ("runs again", "definition changed"),
    }  # fmt: skip
    moved = reuse_of("r_1", found).whole
    old_paths, new_paths = ({step.no: step.path for step in plan.steps} for plan in (PLAN, new))
    assert {old_paths[old]: new_paths[now] for old, now in moved.items()} == {
        name: name for name in ("find", "note", "inspect")
    }
    assert any(old != now for old, now in moved.items())


def test_a_new_parent_changes_a_step_and_leaving_out_a_step_does_not_change_the_others() -> None:
    later = compiled(report={**STEPS["report"], "after": ["note"]})
    assert told(fates(PLAN, later, ended(), CODE))["report"] == ("runs again", "definition changed")
    steps = {name: step for name, step in STEPS.items() if name != "note"}
    less = compile_plan(Plan.model_validate({"name": "audit", "inputs": INPUTS, "steps": steps}))
    assert set(told(fates(PLAN, less, ended(), CODE)).values()) == {TAKEN}


def test_how_a_step_is_run_is_no_part_of_what_it_is() -> None:
    new = compiled(find={**STEPS["find"], "retry": {"attempts": 5}, "timeout": "1m", "queue": "cpu", "max_parallel": 2})
    assert set(told(fates(PLAN, new, ended(), CODE)).values()) == {TAKEN}


def test_a_step_that_reads_an_input_of_another_value_runs_again() -> None:
    found = told(fates(PLAN, PLAN, ended(), CODE, changed_inputs={"day"}))
    assert found["note"] == ("runs again", "inputs changed")
    assert found["find"] == found["report"] == TAKEN


def test_a_change_inside_a_sub_plan_is_one_of_the_step_that_runs_it_for_each_item() -> None:
    def with_sub_plan(path: str) -> CompiledPlan:
        inner = {
            "name": "one",
            "inputs": {"n": {"required": True}},
            "steps": {"read": {"task": "files.find", "with": {"path": path}}},
        }
        each = {"plan": inner, "for_each": "{{ steps.find.output }}", "with": {"n": "{{ item }}"}}
        return compiled(each=each)

    old = with_sub_plan("a")
    found = told(fates(old, with_sub_plan("b"), ended(old), CODE))
    assert found["each"] == ("runs again", "definition changed")
    assert found["each/inputs"] == TAKEN
    assert told(fates(old, with_sub_plan("a"), ended(old), CODE))["each"] == TAKEN
    assert told(fates(old, old, ended(old), CODE | {"files.find": "x"}))["each"] == ("runs again", "code changed")
