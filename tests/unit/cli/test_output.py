"""Forms of data, and times and inputs as text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from engine.cli.inputs import gather
from engine.cli.output import print_rows
from engine.cli.times import parse_span, span, stamp
from engine.errors import UsageError
from engine.plan.model import Plan

ROWS = [{"name": "a, b", "n": 1, "tags": ["x", "y"], "none": None}]


def test_each_form_carries_the_same_data(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS, "json", "t/1")
    assert json.loads(capsys.readouterr().out) == {"schema": "t/1", "items": ROWS}
    print_rows(ROWS, "jsonl", "t/1")
    assert json.loads(capsys.readouterr().out) == {"schema": "t/1", **ROWS[0]}
    print_rows(ROWS, "yaml", "t/1")
    assert yaml.safe_load(capsys.readouterr().out) == {"schema": "t/1", "items": ROWS}
    print_rows(ROWS, "csv", "t/1")
    assert capsys.readouterr().out == 'name,n,tags,none\n"a, b",1,"[""x"", ""y""]",\n'
    print_rows(ROWS, "table", "t/1", columns=("name", "tags", "none"))
    assert capsys.readouterr().out == "NAME  TAGS  NONE\na, b  x, y  -\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0004, "0ms"), (0.34, "340ms"), (0.9996, "1.0s"), (3.14, "3.1s"), (59.96, "1m00s"), (232, "3m52s"),
     (7500, "2h05m"), (273600, "3d04h"), (-1, "0ms"), (None, "-")],
)  # fmt: skip
def test_spans_are_read_easily(seconds: float | None, text: str) -> None:
    assert span(seconds) == text


def test_durations_are_parsed() -> None:
    assert [parse_span(text) for text in ("90", "30s", "5m", "2h", "7d")] == [90, 30, 300, 7200, 604800]
    for text in ("", "x", "-1s", "5y", "nan"):
        with pytest.raises(UsageError):
            parse_span(text)


def test_instants_are_utc() -> None:
    assert stamp(0.5) == "1970-01-01T00:00:00.500Z"


def test_inputs_take_the_type_that_the_plan_gives(tmp_path: Path) -> None:
    plan = Plan.model_validate({
        "name": "p", "steps": {"a": {"task": "t.t"}},
        "inputs": {"text": {"type": "string"}, "count": {"type": "integer"}, "free": {"type": "any"}},
    })  # fmt: skip
    (tmp_path / "words.txt").write_text("from a file")
    (tmp_path / "all.json").write_text('{"text": "t", "count": 1}')
    pairs = ["text=123", "count=7", "free=[1, 2]"]
    assert gather(plan, pairs, tmp_path / "all.json") == {"text": "123", "count": 7, "free": [1, 2]}
    assert gather(plan, [f"text=@{tmp_path}/words.txt", "free=plain words"], None) == {
        "text": "from a file",
        "free": "plain words",
    }
    assert gather(plan, ["text=@@home"], None) == {"text": "@home"}
    with pytest.raises(UsageError, match="count is of type integer"):
        gather(plan, ["count=seven"], None)
