"""Reruns as people type them: plans and tasks are edited between runs, and bodies mark that they ran."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.stack.test_run import Project, project, until_it_says

__all__ = ["project"]

PLAN = """
name: day
inputs: {numbers: {type: list, default: [1, 2, 3]}}
steps:
  fetch: {task: marked.fetch, with: {numbers: "{{ inputs.numbers }}"}}
  price:
    task: marked.price
    for_each: "{{ steps.fetch.output }}"
    with: {n: "{{ item }}"}
  total: {task: marked.total, with: {values: "{{ steps.price.output }}"}}
  note: {task: marked.note}
outputs: {total: "{{ steps.total.output }}", note: "{{ steps.note.output }}"}
"""
ONE = """
name: one
inputs: {n: {type: integer}}
steps: {price: {task: marked.price, with: {n: "{{ inputs.n }}"}}}
"""
TASKS = """
from pathlib import Path
from engine.authoring import task
from .rates import RATE

MARKS = Path(__file__).parent / "marks"

def mark(name: str) -> None:
    with MARKS.open("a") as file:
        file.write(name + "\\n")

@task("marked.fetch", effects="none")
def fetch(numbers: list[int]) -> list[int]:
    mark("fetch")
    return numbers

@task("marked.price", effects="none")
def price(n: int) -> int:
    mark(f"price {n}")
    if n in (Path(__file__).parent / "broken").read_text().split():
        raise ValueError("broken")
    return n * RATE

@task("marked.total", effects="none")
def total(values: list[int]) -> int:
    mark("total")
    return sum(values)

@task("marked.note", effects="none")
def note() -> str:
    mark("note")
    return "as it was"
"""


class Day:
    """The plan, its tasks, and what of them ran."""

    def __init__(self, project: Project) -> None:
        self.project, self.folder = project, project.folder
        project.environment["FLYWHEEL_TASK_MODULES"] = "tasks,./jobs.py,./jobs/marked.py"
        self.edit("dags/day.yaml", PLAN)
        self.edit("jobs/rates.py", "RATE = 10\n")
        self.edit("jobs/marked.py", TASKS)
        self.edit("jobs/broken", "")

    def edit(self, file: str, text: str, old: str | None = None) -> None:
        """Write a file, or replace ``old`` in it."""
        path = self.folder / file
        path.parent.mkdir(exist_ok=True)
        if old is not None:
            before = path.read_text()
            assert old in before
            text = before.replace(old, text, 1)
        path.write_text(text)

    def ran(self) -> Counter[str]:
        """The bodies that ran since this was asked last."""
        marks = self.folder / "jobs" / "marks"
        found = Counter(marks.read_text().splitlines()) if marks.exists() else Counter()
        marks.unlink(missing_ok=True)
        return found

    def call(self, *arguments: str, code: int = 0) -> Any:
        """What a command says as JSON."""
        found, out, err = self.project.call(*arguments, "--json")
        assert found == code, err
        return json.loads(out)

    def fates(self, *options: str) -> dict[str, tuple[str, str]]:
        told = self.call("runs", "retry", "@last", "--dry-run", *options)
        assert told["schema"] == "flywheel.retry/1"
        return {row["step"]: (row["fate"], row["why"]) for row in told["items"]}


@pytest.fixture
def day(project: Project) -> Iterator[Day]:
    yield Day(project)


ALL = Counter(["fetch", "price 1", "price 2", "price 3", "total", "note"])
TAKEN = ("taken over", "")


def test_after_edits_of_code_and_plan_exactly_what_they_touch_runs_again(day: Day) -> None:
    assert day.call("run", "day")["outputs"] == {"total": 60, "note": "as it was"}
    assert day.ran() == ALL

    code, _, err = day.project.call("runs", "retry", "@last")
    assert code != 0
    assert "nothing of it would run again" in err

    # A constant in another module of the tasks' own package, used by one of them.
    day.edit("jobs/rates.py", "RATE = 20\n")
    assert day.fates() == {
        "fetch": TAKEN, "note": TAKEN, "price": ("runs again", "code changed"), "total": ("runs again", "below price"),
    }  # fmt: skip
    assert day.ran() == Counter()
    code, _, err = day.project.call("runs", "retry", "@last")
    assert code == 0, err
    assert "code changed" in err
    assert "--keep" in err
    assert day.ran() == Counter(["price 1", "price 2", "price 3", "total"])

    # The plan: a step that waits for one more.
    day.edit("dags/day.yaml", "marked.total, after: [note],", "marked.total,")
    assert day.fates("--plan", "day")["total"] == ("runs again", "definition changed")
    assert day.call("runs", "retry", "@last", "--plan", "day")["outputs"] == {"total": 120, "note": "as it was"}
    assert day.ran() == Counter(["total"])

    # Comments are no change; one body is, and what waits for it runs again too.
    day.edit("jobs/marked.py", 'mark("fetch")  # once', 'mark("fetch")')
    day.edit("jobs/marked.py", "edited", "as it was")
    assert day.call("runs", "retry", "@last")["outputs"] == {"total": 120, "note": "edited"}
    assert day.ran() == Counter(["note", "total"])


def test_a_fan_out_that_failed_in_part_is_done_again_whole_once_its_code_is_mended_unless_kept(day: Day) -> None:
    day.edit("jobs/marked.py", "str(n) in (Path", old="n in (Path")
    day.edit("jobs/broken", "2")
    day.call("run", "day", code=1)
    assert day.ran() == ALL - Counter(["total"])

    day.edit("jobs/broken", "")
    assert day.fates()["price"] == ("partly", "failed")
    day.edit("jobs/marked.py", 'ValueError("really broken")', old='ValueError("broken")')
    assert day.fates()["price"] == ("runs again", "code changed")
    assert day.fates("--keep")["price"] == ("partly", "failed")
    assert day.call("runs", "retry", "@last", "--keep")["outputs"] == {"total": 60, "note": "as it was"}
    assert day.ran() == Counter(["price 2", "total"])
    # One of its results was made by other code, which is not forgotten.
    assert day.fates()["price"] == ("runs again", "code changed")


def test_a_worker_that_still_runs_the_code_of_before_is_named(day: Day) -> None:
    up = day.project.start("up")
    try:
        until_it_says(up, "eady")
        run = day.call("submit", "day")["run"]
        code, _, err = day.project.call("runs", "watch", run)
        assert code == 0, err
        assert {row["status"] for row in doctor(day) if row["check"] == "worker code"} == {"OK"}
        day.edit("jobs/rates.py", "RATE = 20\n")
        _, _, err = day.project.call("runs", "retry", run, "--dry-run")
        assert "other code runs there than is here" in err
        assert {row["status"] for row in doctor(day) if row["check"] == "worker code"} == {"WARN"}
    finally:
        up.terminate()
        up.communicate(timeout=60)


def doctor(day: Day) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = day.call("doctor", "--no-canary")["items"]
    return rows


def test_a_batch_of_a_changed_plan_keeps_its_items(day: Day) -> None:
    day.edit("dags/one.yaml", ONE)
    Path(day.folder / "items.jsonl").write_text('{"n": 1}\n{"n": 2}\n')
    day.call("run", "one", "--items", "items.jsonl")
    assert day.ran() == Counter(["price 1", "price 2"])
    day.edit("dags/one.yaml", "inputs.n * 2", old="inputs.n ")
    day.call("runs", "retry", "@last", "--plan", "one")
    assert day.ran() == Counter(["price 2", "price 4"])


def test_the_how_to_page_does_what_it_says(project: Project) -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "reruns.md").read_text()
    code, plan = (re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)[0] for language in ("python", "yaml"))
    (project.folder / "jobs").mkdir()
    (project.folder / "jobs" / "prices.py").write_text(code)
    (project.folder / "prices.yaml").write_text(plan)
    project.environment["FLYWHEEL_TASK_MODULES"] = "tasks,./jobs/prices.py"
    totals = []
    for command in ("run prices.yaml", "runs retry @last"):
        done, out, err = project.call(*command.split(), "--json")
        assert done == 0, err
        totals.append(json.loads(out)["outputs"])
        (project.folder / "jobs" / "prices.py").write_text(code.replace("* 10", "* 12"))
    assert totals == [{"total": 120}, {"total": 144}]
    table = re.findall(r"```text\n(.*?)```", page, re.DOTALL)[0]
    assert table in err
