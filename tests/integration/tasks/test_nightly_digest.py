"""The shipped plan nightly-digest: three nights on real files and a real database, and once as people start it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import dags
import settings
from engine.dag.compile import compile_plan
from engine.plan.binding import bind, dump
from engine.plan.files import check_inputs, load_plan
from engine.plan.registry import load_task_modules
from engine.plan.templates import render
from tests.services.postgres import postgres

__all__ = ["postgres"]

PLAN = Path(dags.__file__).with_name("nightly-digest.yaml")


@pytest.fixture
def registry():
    return load_task_modules(["tasks"])


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path) -> str:
    if request.param == "postgres":
        return request.getfixturevalue("postgres").new_database()
    return f"sqlite:///{tmp_path}/figures.db"


@pytest.fixture
def night(registry, context, root, url):
    """Runs every step of the plan in order, as workers do, and returns its outputs and the report."""
    chosen = settings.load(
        home=context.settings.home, file_roots=(root,), file_write_roots=(root,), sql_connections={"figures": url}
    )
    given = replace(context, settings=chosen)
    plan = load_plan(PLAN)

    def run_plan(run_id: str, **inputs: Any) -> tuple[dict[str, Any], str]:
        folders = {"root": "data", "log_dir": "log", "backup_dir": "backups", "connection": "figures"}
        world: dict[str, Any] = {
            "inputs": check_inputs(plan, folders | inputs),
            "steps": {},
            "run": {"id": run_id, "scheduled_for": None},
        }
        for compiled in compile_plan(plan, registry).steps:
            step = plan.steps[compiled.path]
            task_type = registry.get(step.task)
            arguments = bind(task_type, render(dict(step.with_), world), given)
            world["steps"][compiled.path] = {"output": dump(task_type, task_type.function(**arguments))}
        outputs = render(plan.outputs, world)
        return outputs, Path(outputs["report"]).read_text("utf-8")

    return run_plan


def test_it_compiles_and_repeats_nothing_that_may_not_be_repeated(registry):
    steps = {step.path: step for step in compile_plan(load_plan(PLAN), registry).steps}
    assert {step.effects for step in steps.values()} == {"none", "idempotent"}
    noted = [path for path, step in steps.items() if step.task == "sql.execute"]
    assert len(noted) == 8 and all(steps[path].effects == "idempotent" for path in noted)


def test_each_night_is_compared_with_the_one_before(night, root):
    for folder in ("data/deep", "log", "backups"):
        (root / folder).mkdir(parents=True)
    (root / "data/deep/a").write_bytes(b"x" * 1000)
    (root / "log/app.log").write_text("fine\nERROR `first` | <b>\nlibgpg-error-dev\n")
    (root / "backups/shop.dump").write_bytes(b"A" * 100)
    stat = (root / "backups/shop.dump").stat()

    outputs, report = night("r_1")
    assert outputs["attention"] == ["1 new log line matches 'error', in 1 file."]
    assert "(first night)" in report and r"ERROR \`first\` \| &lt;b&gt;" in report
    assert "| shop.dump | 100 B |" in report and "| new |" in report
    assert outputs["counts"]["grown_bytes"] is None and outputs["counts"]["backups"] == 1

    quiet, report = night("r_2")
    assert quiet["attention"] == [] and "Nothing." in report and "unchanged since" in report
    assert quiet["counts"]["grown_bytes"] == 0 and quiet["counts"]["matching_lines"] == 0

    (root / "data/deep/b").touch()
    os.truncate(root / "data/deep/b", 300_000_000)  # sparse: no disk is filled
    with (root / "log/app.log").open("a") as stream:
        stream.write("fatal: second\nPermission denied\n")
    (root / "backups/shop.dump").write_bytes(b"B" * 100)
    os.utime(root / "backups/shop.dump", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    outputs, report = night("r_3")
    assert outputs["attention"] == [
        "The folder deep grew by 300 MB to 300 MB.",
        "1 new log line matches 'error', in 1 file.",
        "1 new log line matches 'denied', in 1 file.",
        "The backup shop.dump has other bytes than when it was seen first, at the same size and time.",
    ]
    assert (
        outputs["counts"]["backups_changed"] == 1 and "first" not in report.split("## Logs")[1].split("## Backups")[0]
    )


def test_a_backup_that_is_too_old_and_what_is_not_there_are_said(night, root):
    (root / "data").mkdir()
    (root / "backups").mkdir()
    (root / "backups/old.dump").write_text("x")
    os.utime(root / "backups/old.dump", (1_700_000_000, 1_700_000_000))
    outputs, report = night("r_1")
    assert len(outputs["attention"]) == 1 and "The newest backup is" in outputs["attention"][0]
    assert "There is no such folder." in report and "No backup is young enough." in report
    assert "There are none." in night("r_2", backup_dir="nowhere")[1]


def test_it_runs_on_a_fresh_machine_without_arguments(tmp_path):
    bare = {name: value for name, value in os.environ.items() if not name.startswith("FLYWHEEL_")}
    command = [sys.executable, "-P", "-m", "engine.cli.main", "run", "nightly-digest"]
    done = subprocess.run(
        command, cwd=tmp_path, env=bare | {"FLYWHEEL_STOP_GRACE_S": "2"}, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = (tmp_path / "reports/nightly-digest/report.md").read_text("utf-8")
    assert report.startswith("# Nightly digest\n") and "## Logs in `/var/log`" in report
    assert (tmp_path / ".flywheel/local.db").exists()
