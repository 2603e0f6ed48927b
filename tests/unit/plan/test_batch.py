"""A plan over the items of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import UsageError
from engine.plan.batch import batch_plan, read_items
from engine.plan.model import Plan

ONE_STEP = Plan.model_validate(
    {
        "name": "classify",
        "inputs": {"text": {"type": "string", "required": True}, "n": {"type": "integer", "default": 1}},
        "steps": {
            "label": {
                "task": "t.label",
                "with": {
                    "text": "{{ inputs.text }}",
                    "note": "{{ inputs.n }} inputs of {{ my.inputs }}",
                    "list": [1, "{{ inputs.n }}"],
                },
                "when": "inputs.n > 0",
            }
        },
        "outputs": {"label": "{{ steps.label.output }}"},
    }
)  # fmt: skip


def items(tmp_path: Path, text: str, name: str = "items.jsonl") -> list[dict[str, object]]:
    file = tmp_path / name
    file.write_text(text)
    return list(read_items(file, ONE_STEP, {}))


def test_a_plan_of_one_step_becomes_a_fan_out_of_that_step() -> None:
    plan = batch_plan(ONE_STEP)
    step = plan.steps["label"]
    assert step.for_each == "{{ inputs.items }}"
    assert step.with_ == {
        "text": "{{ item.text }}",
        "note": "{{ item.n }} inputs of {{ my.inputs }}",
        "list": [1, "{{ item.n }}"],
    }
    assert step.when == "item.n > 0"
    assert list(plan.inputs) == ["items"]
    assert plan.outputs is None


def test_up_to_max_failures_are_tolerated() -> None:
    step = batch_plan(ONE_STEP, max_failures=3).steps["label"]
    assert (step.max_failures, step.on_failure) == (3, "continue")
    assert (batch_plan(ONE_STEP).steps["label"].on_failure, batch_plan(ONE_STEP).steps["label"].max_failures) == (
        "fail",
        None,
    )


def test_any_other_plan_becomes_a_fan_out_of_the_plan_itself() -> None:
    two = ONE_STEP.model_copy(update={"steps": {"a": ONE_STEP.steps["label"], "b": ONE_STEP.steps["label"]}})
    step = batch_plan(two).steps["each"]
    assert step.plan == two
    assert step.with_ == {"text": "{{ item.text }}", "n": "{{ item.n }}"}


def test_items_come_from_json_lines_with_defaults_put_in(tmp_path: Path) -> None:
    assert items(tmp_path, '{"text": "a"}\n\n{"text": "b", "n": 2}\n') == [{"text": "a", "n": 1}, {"text": "b", "n": 2}]


def test_items_come_from_csv_as_the_inputs_types(tmp_path: Path) -> None:
    assert items(tmp_path, 'text,n\n"a, b",3\n007,4\n', "items.csv") == [
        {"text": "a, b", "n": 3},
        {"text": "007", "n": 4},
    ]


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ('{"text": "a"}\n{"text": [1]}\n', "x.jsonl", "x.jsonl:2: plan 'classify': input 'text' is no string"),
        ('{"text": "a"}\n[1]\n', "x.jsonl", "x.jsonl:2: an item is an object"),
        ("nonsense\n", "x.jsonl", "x.jsonl:1: not JSON"),
        ('{"txt": "a"}\n', "x.jsonl", "did you mean"),
        ("text,n\na\n", "x.csv", "x.csv:2: a row has 2 fields"),
        ("", "x.jsonl", "has no items"),
        ("text,n\n", "x.csv", "has no items"),
    ],
)
def test_what_is_wrong_with_items_is_said_with_its_line(tmp_path: Path, text: str, name: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        items(tmp_path, text, name)
    assert said in str(refused.value).replace(f"{tmp_path}/", "")


def test_the_first_twenty_wrong_lines_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        items(tmp_path, '{"n": 1}\n' * 50)
    assert len(str(refused.value).splitlines()) == 20


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        list(read_items(tmp_path / "none.jsonl", ONE_STEP, {}))
    (tmp_path / "bad.jsonl").write_bytes(b'{"text": "\xff"}\n')
    with pytest.raises(UsageError, match="not UTF-8"):
        list(read_items(tmp_path / "bad.jsonl", ONE_STEP, {}))
