"""`flywheel run` as people type it: real Redis, scheduler and workers, started and stopped by the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

PLAN = """
name: tiny
inputs:
  numbers: {type: list, default: [1, 2, 3]}
  wait_s: {type: number, default: 0}
steps:
  double:
    task: demo.double
    for_each: "{{ inputs.numbers }}"
    with: {n: "{{ item }}", wait_s: "{{ inputs.wait_s }}"}
  total:
    task: demo.total
    with: {values: "{{ steps.double.output }}"}
outputs: {total: "{{ steps.total.output }}"}
"""
TASKS = """
import time
from engine.authoring import task

@task("demo.double", effects="none", queue="io")
def double(n: int, wait_s: float = 0.0) -> int:
    time.sleep(wait_s)
    if n < 0:
        raise ValueError("negative")
    return n * 2

@task("demo.total", effects="none", queue="io")
def total(values: list[int]) -> int:
    return sum(values)
"""


class Project:
    """A folder of somebody's own, with a plan and tasks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "dags").mkdir()
        (folder / "dags" / "tiny.yaml").write_text(PLAN)
        (folder / "jobs.py").write_text(TASKS)
        bare = {name: value for name, value in os.environ.items() if not name.startswith("FLYWHEEL_")}
        self.environment = bare | {"FLYWHEEL_TASK_MODULES": "tasks,./jobs.py", "FLYWHEEL_STOP_GRACE_S": "2"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "engine.cli.main", *arguments], cwd=self.folder, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def call(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=100)
        return process.returncode, out, err

    def processes(self) -> list[int]:
        """Those of this project's stack, found by their folder."""
        return [
            process.pid
            for process in psutil.process_iter()
            if _cwd(process) in (str(self.folder), str(self.folder / ".flywheel" / "redis"))
        ]


def _cwd(process: psutil.Process) -> str | None:
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else process.cwd()
    except psutil.Error:
        return None


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    for pid in made.processes():
        os.kill(pid, signal.SIGKILL)


def until_it_says(process: subprocess.Popen[str], text: str) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return line
    raise AssertionError(f"it ended without saying {text!r}")


def test_a_run_starts_what_it_needs_and_stops_it(project: Project) -> None:
    code, out, err = project.call("run", "tiny", "-p", "numbers=[1, 2, 3, 4]", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["outputs"] == {"total": 20}
    assert told["tally"] == {"OK": 5, "FAILED": 0, "SKIPPED": 0, "CANCELLED": 0, "TOTAL": 5}
    assert project.processes() == []
    kept = json.loads((project.folder / ".flywheel" / "last_run.json").read_text())
    assert kept["run"] == told["run"]
    assert not (project.folder / ".flywheel" / "logs" / "worker-cpu.log").exists(), "no step needs the cpu worker"
    code, out, err = project.call("run", "--resume", "@last")
    assert (code, "Done in" in out) == (0, True), "one that has ended shows its end"
    assert "has already ended" in err


def test_a_failure_is_exit_1_and_says_why(project: Project) -> None:
    code, out, err = project.call("run", "tiny", "-p", "numbers=[1, -2]")
    assert code == 1, err
    assert "double[1]  ValueError: negative" in out
    assert "FAILED=1" in out
    code, out, err = project.call("run", "--resume", "@last", "--json")
    assert (code, json.loads(out)["state"]) == (1, "failed"), err


def test_an_interrupt_pauses_and_resume_goes_on(project: Project) -> None:
    run = project.start("run", "tiny", "-p", "wait_s=1", "-p", f"numbers={list(range(30))}")
    run_id = until_it_says(run, "run r_").split()[1]
    time.sleep(1.0)  # anywhere in the run will do
    run.send_signal(signal.SIGTERM)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert f"flywheel run --resume {run_id}" in err
    assert project.processes() == []
    code, out, err = project.call("run", "--resume", run_id, "--json")
    assert code == 0, err
    assert json.loads(out)["outputs"] == {"total": sum(range(30)) * 2}


def test_nothing_survives_the_sigkill_of_a_run(project: Project) -> None:
    run = project.start("run", "tiny", "-p", "wait_s=30")
    until_it_says(run, "run r_")
    assert len(project.processes()) >= 3
    run.kill()
    run.communicate()
    deadline = time.monotonic() + 15
    while left := project.processes():
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.05)


def test_two_runs_of_one_project_share_a_stack(project: Project) -> None:
    first = project.start("run", "tiny", "-p", "wait_s=0.5")
    until_it_says(first, "run r_")
    second = project.start("run", "tiny", "-p", "wait_s=2", "-p", "numbers=[5]")
    ends = [process.communicate(timeout=90) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), ends
    assert "total    12" in ends[0][0]
    assert "total    10" in ends[1][0]
    assert project.processes() == []


def test_a_scheduler_that_keeps_dying_ends_every_run_that_shares_the_stack(project: Project) -> None:
    project.environment["FLYWHEEL_FAULT"] = "before_commit:1"
    first = project.start("run", "tiny")
    until_it_says(first, "run r_")
    second = project.start("run", "tiny")
    said = [process.communicate(timeout=90)[1] for process in (first, second)]
    assert (first.returncode, second.returncode) == (5, 5), said
    log = project.folder / ".flywheel" / "logs" / "scheduler.log"
    for each in said:
        assert f"scheduler died 5 times in a row (exit 86); the end of {log}:" in each
    assert f"in the stack of process {first.pid}" in said[1]
    assert project.processes() == []


def test_a_run_ends_when_the_owner_of_its_stack_is_killed(project: Project) -> None:
    first = project.start("run", "tiny", "-p", "wait_s=60")
    until_it_says(first, "run r_")
    second = project.start("run", "tiny", "-p", "wait_s=60")
    until_it_says(second, "run r_")
    first.kill()
    first.communicate(timeout=30)
    _, err = second.communicate(timeout=60)
    assert second.returncode == 5, err
    assert f"process {first.pid} (flywheel run tiny), which ran the stack here, has ended" in err


def test_a_detached_stack_takes_work_cancels_it_and_goes_down(project: Project) -> None:
    code, _, err = project.call("up", "--detach")
    assert code == 0, err
    assert project.call("up")[0] == 1
    code, out, err = project.call("submit", "tiny", "-p", "wait_s=8")
    run_id = out.strip()
    assert project.call("runs", "cancel", run_id)[0] == 0
    code, out, err = project.call("runs", "watch", run_id, "--timeout", "30s", "--json")
    assert (code, json.loads(out)["state"]) == (1, "cancelled"), err
    assert project.call("doctor")[0] == 0
    assert project.call("doctor", "--audit", run_id)[0] == 0
    assert project.call("down")[0] == 0
    assert project.processes() == []


def test_a_run_is_cancelled_where_no_stack_is_up(project: Project) -> None:
    run_id = project.call("submit", "tiny")[1].strip()
    code, out, err = project.call("runs", "cancel", run_id, "--json")
    assert code == 0, err
    assert json.loads(out)["permits_gone_at"] is not None
    assert project.processes() == []
