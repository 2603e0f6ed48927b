"""Plan files: every error at its place, nothing that hangs or kills the reader, inputs checked."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from engine.errors import NotFound, PlanError, UsageError
from engine.plan.files import check_inputs, find_plan, load_plan, read_plan
from engine.plan.model import Plan, plan_data, plan_hash
from engine.plan.subplans import resolve

GOOD = """
name: demo
inputs:
  on: {type: list, default: [no, 12:30, 2024-01-01]}
steps:
  scan:
    task: files.find
    timeout: 1m
    retry: {attempts: 3, on: [TimeoutError]}
  use:
    task: files.read
    for_each: "{{ steps.scan.output }}"
    with: {path: "{{ item }}", size: 1e3, off: off}
outputs: "{{ steps.use.output }}"
"""


def problems(text: str | bytes, file: str = "plan.yaml") -> list[str]:
    with pytest.raises(PlanError) as caught:
        read_plan(text.encode() if isinstance(text, str) else text, file)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero")
def test_a_plan_file_without_an_end_is_refused_after_what_a_plan_may_have() -> None:
    with pytest.raises(PlanError, match="at most 5,000,000 bytes"):
        load_plan("/dev/zero")


def test_scalars_follow_yaml_1_2_so_that_words_and_dates_stay_text() -> None:
    plan = read_plan(GOOD.encode(), "plan.yaml")
    assert plan.inputs["on"].default == ["no", "12:30", "2024-01-01"]
    assert plan.steps["scan"].timeout == 60.0
    assert plan.steps["scan"].retry.on == ("TimeoutError",)
    assert plan.steps["use"].with_ == {"path": "{{ item }}", "size": 1000.0, "off": "off"}


def test_a_plan_survives_being_stored() -> None:
    plan = read_plan(GOOD.encode(), "plan.yaml")
    again = Plan.model_validate(plan_data(plan))
    assert again == plan
    assert plan_hash(again) == plan_hash(plan)


def test_all_problems_come_at_once_each_with_line_and_column() -> None:
    told = problems(
        "name: Demo\n"
        "steps:\n"
        "  scan:\n"
        "    task: files.find\n"
        "    max_paralel: 3\n"
        "    retry: {attempts: 0, dealy: 1s}\n"
        "    timeout: 5 parsecs\n"
        "    join: al\n"
        "  Bad-Name: {task: a.b}\n"
        "  both: {task: a.b, plan: c}\n"
        "  none: {description: x}\n"
        "  fan: {task: a.b, for_each: 'steps.scan', on_failure: {fall_bak: x}}\n"
    )
    for part in (
        "plan.yaml:1:7: name: 'Demo' is no name here",
        "plan.yaml:5:5: steps.scan.max_paralel: unknown key 'max_paralel'; did you mean 'max_parallel'?",
        "plan.yaml:6:23: steps.scan.retry.attempts: input should be greater than or equal to 1",
        "plan.yaml:6:26: steps.scan.retry.dealy: unknown key 'dealy'; did you mean 'delay'?",
        "plan.yaml:7:14: steps.scan.timeout: '5 parsecs' is no duration",
        "plan.yaml:8:11: steps.scan.join: 'al' is none of all, any, first, all_done; did you mean 'all'?",
        "plan.yaml:9:3: steps.Bad-Name: 'Bad-Name' is no name here",
        "plan.yaml:10:9: steps.both: a step has a task or a plan, not both",
        "plan.yaml:11:9: steps.none: a step needs a task or a plan",
        "plan.yaml:12:30: steps.fan.for_each: give a list, or one lone reference",
        "steps.fan.on_failure.fall_bak: unknown key 'fall_bak'; did you mean 'fall_back'?",
    ):
        assert any(part in line for line in told), (part, told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &x [1]\nb: *x\n", "plan.yaml:1:4: anchors are refused"),
        ("a: 1\nb: 2\na: 3\n", "plan.yaml:3:1: the key 'a' is there twice"),
        ("a: !!python/name:os.system x\n", "tags are refused"),
        ("<<: {a: 1}\n", "merge keys are refused"),
        ("a: .nan\n", "give a finite number"),
        ("a: 1e999\n", "too large a number"),
        ("a: [1\n", "this is no YAML"),
        ("? [a]\n: 1\n", "a key must be plain text"),
        ("a: 1\n---\nb: 1\n", "one document"),
        ("a: " + "[" * 100_000, "nested more than 64 deep"),
        ("- " * 100_000, "nested more than 64 deep"),
        ("- a\n", "a plan is a mapping"),
        ("", "a plan is a mapping"),
        (b"name: \xff\n", "plan.yaml:1:7: the file is no UTF-8 text"),
        (b"x" * 5_000_001, "at most 5,000,000 bytes are read"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_plain_document_is_refused_at_once(text: str | bytes, told: str) -> None:
    start = time.thread_time()
    assert any(told in line for line in problems(text))
    assert time.thread_time() - start < 0.5


def test_json_plans_are_read_and_their_syntax_errors_placed() -> None:
    plan = read_plan(b'{"name": "p", "steps": {"a": {"task": "t.x"}}}', "p.json")
    assert plan.name == "p"
    assert problems('{"name": "p",\n "steps": }', "p.json") == ["p.json:2:11: this is no JSON: Expecting value"]


def test_plans_are_found_by_name_and_the_nearest_is_told(tmp_path: Path) -> None:
    (tmp_path / "nightly-digest.yaml").write_text("name: nightly-digest\nsteps: {a: {task: t.x}}\n")
    assert find_plan("nightly-digest", [tmp_path / "absent", tmp_path]).name == "nightly-digest"
    assert load_plan(tmp_path / "nightly-digest.yaml").name == "nightly-digest"
    with pytest.raises(NotFound, match="did you mean 'nightly-digest'"):
        find_plan("nightly-digets", [tmp_path])
    with pytest.raises(NotFound, match="cannot be read"):
        load_plan(tmp_path / "no.yaml")


def plan_of(name: str, *sub_plans: str) -> Plan:
    steps = {f"s{number}": {"plan": sub} for number, sub in enumerate(sub_plans)}
    return Plan.model_validate({"name": name, "steps": {"t": {"task": "t.x"}, **steps}})


def test_sub_plans_are_put_in_and_cycles_printed() -> None:
    plans = {"a": plan_of("a", "b"), "b": plan_of("b", "c"), "c": plan_of("c")}
    whole = resolve(plans["a"], plans.__getitem__)
    inner = whole.steps["s0"].plan
    assert isinstance(inner, Plan)
    assert isinstance(inner.steps["s0"].plan, Plan)
    plans["c"] = plan_of("c", "a")
    with pytest.raises(PlanError, match="a plan contains itself: a -> b -> c -> a"):
        resolve(plans["a"], plans.__getitem__)


def test_exploding_sub_plans_are_refused_without_writing_them_out() -> None:
    plans = {f"p{level}": plan_of(f"p{level}", *[f"p{level + 1}"] * 60) for level in range(6)}
    plans["p6"] = plan_of("p6")
    with pytest.raises(PlanError, match="more than 200,000 steps"):
        resolve(plans["p0"], plans.__getitem__)


def test_inputs_are_typed_and_everything_wrong_with_them_told() -> None:
    plan = Plan.model_validate({
        "name": "p",
        "inputs": {"n": {"type": "integer"}, "s": {"type": "string", "default": "x"}, "l": {"type": "list"},
                   "o": {"type": "string", "required": False}},
        "steps": {"a": {"task": "t.x"}},
    })  # fmt: skip
    assert check_inputs(plan, {"n": "3", "l": [1]}) == {"n": 3, "s": "x", "l": [1], "o": None}
    with pytest.raises(UsageError) as caught:
        check_inputs(plan, {"n": "x", "sn": 1})
    assert "'n' is no integer" in str(caught.value)
    assert "there is no input 'sn'" in str(caught.value)
    assert "input 'l' (list) is missing" in str(caught.value)


def test_a_default_must_fit_its_type() -> None:
    told = problems("name: p\ninputs: {n: {type: integer, default: x}}\nsteps: {a: {task: t.x}}\n")
    assert "the default is no integer" in told[0]
