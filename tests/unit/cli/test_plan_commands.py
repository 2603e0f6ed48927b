"""`flywheel plan schema | graph | show | list`: what they print can be used as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.cli.main import main

PYTHON = """
from engine.authoring import plan, task

@task("greet.hello", effects="none")
def hello(who: str) -> str:
    return who

@plan("greetings", tags=["a"])
def greetings(who: str = "x") -> str:
    "Greets."
    return hello(who)
"""
YAML = """
name: greetings
tags: [a]
inputs: {who: {type: string, default: x}}
steps: {hello: {task: greet.hello, with: {who: "{{ inputs.who }}"}}}
outputs: "{{ steps.hello.output }}"
"""


@pytest.fixture(autouse=True)
def _project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / "home"))
    (tmp_path / "greet.py").write_text(PYTHON)
    (tmp_path / "greet.yaml").write_text(YAML)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def test_a_plan_shown_as_yaml_is_a_plan_file_of_the_same_version(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    versions = set()
    for source in ("greet.py", "greet.yaml"):
        if source == "greet.py":
            versions.add(json.loads(printed(capsys, "plan", "show", source, "--json"))["version"])
        (tmp_path / "printed.yaml").write_text(printed(capsys, "plan", "show", source, "-o", "yaml"))
        versions.add(json.loads(printed(capsys, "plan", "show", "printed.yaml", "--json"))["version"])
    assert len(versions) == 1


def test_a_schema_is_printed_or_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plain = json.loads(printed(capsys, "plan", "schema"))
    assert "allOf" not in plain["$defs"]["Step"]
    assert printed(capsys, "plan", "schema", "--tasks", "-o", "plan.schema.json") == ""
    assert "with.files.read" in json.loads((tmp_path / "plan.schema.json").read_text())["$defs"]
    assert main(["plan", "schema", "-o", "nowhere/plan.schema.json"]) == 2
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("form", "begins"), [("text", "dependency-audit"), ("svg", "<svg"), ("mermaid", "flowchart"), ("dot", "digraph")]
)
def test_a_plan_is_drawn(form: str, begins: str, capsys: pytest.CaptureFixture[str]) -> None:
    drawing = printed(capsys, "plan", "graph", "dependency-audit", "-o", form)
    assert drawing.startswith(begins)
    assert "inspect" in drawing


def test_plans_are_listed_with_what_they_are(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags/greet.py").write_text(PYTHON.replace("greet.hello", "greet_dag.hello"))
    (tmp_path / "dags/broken.yaml").write_text("name: broken\n")
    rows = {row["plan"]: row for row in json.loads(printed(capsys, "plan", "list", "--json"))["items"]}
    assert (rows["greetings"]["description"], rows["greetings"]["steps"]) == ("Greets.", 1)
    assert rows["broken"]["description"].startswith("does not hold")
    assert rows["dependency-audit"]["inputs"]


def test_validating_several_plans_tells_the_problems_of_all(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\nsteps: {{a: {{task: files.find, x: 1}}}}\n")
    assert main(["plan", "validate", "one.yaml", "two.yaml"]) == 2
    told = capsys.readouterr().err
    assert "one.yaml:2:31: steps.a.x" in told
    assert "two.yaml:2:31: steps.a.x" in told


def test_a_plan_that_never_ran_is_foreseen_without_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(printed(capsys, "plan", "preview", "greet.yaml", "--slots", "3", "--json"))
    assert (found["nodes"], found["width"], found["slots"], found["p50_s"]) == (1, 1, {"io": 3}, None)
    assert found["unknown_durations"] == found["critical_path"] == ["hello"]
    assert "unknown: no body of these steps has ended yet" in printed(capsys, "plan", "preview", "greet.yaml")
