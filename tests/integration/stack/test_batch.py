"""A batch job as people type it: items in, results in their order, only what failed once more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.stack.test_run import Project, project

__all__ = ["project"]

PLAN = """
name: doubled
inputs: {n: {type: integer, required: true}}
steps: {double: {task: demo.double, with: {n: "{{ inputs.n }}"}}}
"""


@pytest.fixture
def batch(project: Project) -> Iterator[Project]:
    (project.folder / "dags" / "doubled.yaml").write_text(PLAN)
    (project.folder / "items.jsonl").write_text("".join(f'{{"n": {n}}}\n' for n in [3, -1, 5, *range(200)]))
    yield project


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_results_come_in_the_order_of_the_items_and_errors_beside_them(batch: Project) -> None:
    code, _, err = batch.call("run", "doubled", "--items", "items.jsonl", "--max-failures", "5", "--json")
    assert code == 0, err
    code, _, err = batch.call("runs", "results", "@last", "--to", "out.jsonl")
    assert (code, err) == (0, "202 results, 1 without: out.errors.jsonl\n")
    wanted = [3, 5, *range(200)]
    assert [line["output"] for line in lines(batch.folder / "out.jsonl")] == [2 * n for n in wanted]
    assert [line["index"] for line in lines(batch.folder / "out.jsonl")] == [0, 2, *range(3, 203)]
    (failed,) = lines(batch.folder / "out.errors.jsonl")
    assert failed == {"index": 1, "state": "failed", "error": "negative", "item": {"n": -1}}


def test_a_batch_is_given_up_after_too_many_failures_and_retried_for_those_only(batch: Project) -> None:
    code, _, _ = batch.call("run", "doubled", "--items", "items.jsonl", "--max-failures", "0")
    assert code == 1
    source = batch.folder / "jobs.py"
    source.write_text(source.read_text().replace("if n < 0:", "if n < -9:"))
    code, _, err = batch.call("runs", "retry", "@last")
    assert code == 0, err
    code, out, _ = batch.call("runs", "results", "@last")
    assert [json.loads(line)["output"] for line in out.splitlines()] == [6, -2, 10, *range(0, 400, 2)]
