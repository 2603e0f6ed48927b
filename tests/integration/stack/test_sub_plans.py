"""The examples of docs/sub-plans.md, run as they are written there: real scheduler, workers and Redis."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[3] / "docs" / "sub-plans.md").read_text("utf-8")
TASKS = "".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
PLANS = {text.split()[1]: text for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "dags").mkdir()
    for name, text in PLANS.items():
        (tmp_path / "dags" / f"{name}.yaml").write_text(text)
    (tmp_path / "jobs.py").write_text(TASKS)
    return tmp_path


def call(folder: Path, *arguments: str) -> tuple[int, str, str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("FLYWHEEL_")}
    told = subprocess.run(
        [sys.executable, "-P", "-m", "engine.cli.main", *arguments], cwd=folder, capture_output=True, text=True,
        env=bare | {"FLYWHEEL_TASK_MODULES": "tasks,./jobs.py"}, timeout=100, check=False,
    )  # fmt: skip
    return told.returncode, told.stdout, told.stderr


def run(folder: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    found, out, err = call(folder, "run", *arguments, "--json")
    assert found == code, (out, err)
    return dict(json.loads(out))


def test_a_sub_plan_runs_once_an_item(folder: Path) -> None:
    told = run(folder, "mapped")
    assert told["outputs"] == {"words": [{"word": "aa"}, {"word": "bb"}, {"word": "cc"}]}
    assert not told["partial"]
    below = told["below"]
    assert (below["runs"], below["runs_ended"]) == (3, 3)
    assert below["done"] == below["nodes"] == below["succeeded"] >= 3
    listed = json.loads(call(folder, "runs", "list", "-o", "json")[1])
    assert [row["run"] for row in rows_of(listed)] == [told["run"]]
    whole = rows_of(json.loads(call(folder, "runs", "list", "--children", "-o", "json")[1]))
    assert len(whole) == 4
    assert call(folder, "runs", "show", "@last")[0] == 0


def test_a_loop_ends_when_its_condition_holds(folder: Path) -> None:
    assert run(folder, "looped")["outputs"] == {"word": "ababab", "rounds": 3}


def test_a_loop_that_a_bound_stopped_is_partial(folder: Path) -> None:
    (folder / "dags" / "short.yaml").write_text(PLANS["looped"].replace("max_rounds: 5", "max_rounds: 2"))
    told = json.loads(call(folder, "run", str(folder / "dags" / "short.yaml"), "--json")[1])
    assert told["outputs"] == {"word": "abab", "rounds": 2}
    assert told["partial"]


def test_a_plan_that_a_step_made_is_run(folder: Path) -> None:
    assert run(folder, "expanded")["outputs"] == {"first": "x"}


def test_a_plan_that_a_step_made_of_other_tasks_is_refused(folder: Path) -> None:
    found, out, err = call(folder, "run", "expanded", "-p", "task=shell.run", "--json")
    assert found == 1, (out, err)
    failures = call(folder, "runs", "logs", "@last", "--failed")[1]
    assert "task type 'shell.run' is not among those allowed" in failures
    assert "s0" in failures
    assert "s1" in failures


def test_the_same_plans_in_python_run_too(folder: Path) -> None:
    assert run(folder, "jobs.py:looped")["outputs"] == {"word": "ababab", "rounds": 3}


UNFIT = """
name: unfit
steps:
  think: {task: demo.think, with: {words: [x]}}
  grow:
    plan:
      name: joined
      inputs: {words: {type: list}}
      steps: {add: {task: demo.join, with: {words: "{{ inputs.words }}"}}}
      outputs: {word: "{{ steps.add.output }}"}
    with: {words: "{{ steps.think.output }}"}
    loop: {until: "True", max_rounds: 2}
    on_failure: {fall_back: instead}
  instead: {task: demo.word, with: {text: instead}}
  act:
    expand: {plan: "{{ steps.think.output.nothing }}", tasks: [demo.word]}
    on_failure: continue
  each:
    plan:
      name: times
      inputs: {times: {type: integer}}
      steps: {one: {task: demo.word, with: {text: a, times: "{{ inputs.times }}"}}}
      outputs: "{{ steps.one.output }}"
    with: {times: "{{ item }}"}
    for_each: ["2", two, 3]
    on_failure: continue
outputs: {grow: "{{ steps.grow.output }}", each: "{{ steps.each.output }}"}
"""


def test_inputs_that_cannot_be_made_are_a_failure_of_their_step(folder: Path) -> None:
    (folder / "dags" / "unfit.yaml").write_text(UNFIT)
    told = run(folder, "unfit")
    assert told["outputs"] == {"grow": "instead", "each": ["aa", None, "aaa"]}
    assert told["partial"]
    failures = call(folder, "runs", "logs", "@last", "--failed")[1]
    assert "input 'words': expected list, given object of 2" in failures
    assert "input 'times': expected integer, given string \"two\"" in failures


def test_what_a_loop_hands_on_fits_what_the_next_round_declares(folder: Path) -> None:
    text = PLANS["looped"].replace('{default: {word: ""}}', "{type: list, default: []}")
    text = text.replace("{{ inputs.previous.word }}", "")
    (folder / "dags" / "wrong.yaml").write_text(text)
    found, out, err = call(folder, "run", "wrong", "--json")
    assert found == 1, (out, err)
    assert "input 'previous': expected list, given object of 1" in call(folder, "runs", "logs", "@last", "--failed")[1]


WIDE = """
@task("demo.wide", effects="none", queue="io")
def wide() -> dict:
    each = {"task": "demo.word", "with": {"text": "{{ item }}"}, "for_each": "{{ steps.letters.output }}"}
    return {"steps": {"letters": {"task": "demo.letters"}, "each": each}}


@task("demo.letters", effects="none", queue="io")
def letters() -> list[str]:
    return ["a", "b", "c"]
"""


def test_a_fan_out_of_too_many_items_in_a_plan_that_a_step_made_is_refused(folder: Path) -> None:
    (folder / "jobs.py").write_text(TASKS + WIDE)
    act = 'expand: {plan: "{{ steps.think.output }}", tasks: [demo.word, demo.letters], max_items: 2}'
    text = f"name: wide\nsteps:\n  think: {{task: demo.wide}}\n  act:\n    {act}\n"
    (folder / "dags" / "wide.yaml").write_text(text)
    found, out, err = call(folder, "run", "wide", "--json")
    assert found == 1, (out, err)
    (child,) = [
        row["run"]
        for row in rows_of(json.loads(call(folder, "runs", "list", "--children", "-o", "json")[1]))
        if row["plan"] == "act"
    ]
    assert "for_each of each has 3 items, and may have 2" in call(folder, "runs", "show", child)[1]


def rows_of(told: Any) -> list[dict[str, Any]]:
    return list(told if isinstance(told, list) else next(value for value in told.values() if isinstance(value, list)))
