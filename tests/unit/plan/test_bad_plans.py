"""Malformed plans: each is refused at once, with all that is wrong at its line and column.

The plans are in tests/fixtures/plans/bad, each with a file of what must be told beside it:
``line:column: path: message``, in that order.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.dag.whole import whole_plan
from engine.errors import PlanError
from engine.plan.files import find_plan, load_plan, read_plan
from engine.plan.model import Plan
from engine.plan.registry import load_task_modules
from tests.fixtures.plans.large import LARGE, SLOW

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "tests/fixtures/plans/bad"
BAD = sorted(FOLDER.glob("*.yaml"))
REGISTRY = load_task_modules(["tasks"])


def told(load: Callable[[], Plan]) -> tuple[list[str], float]:
    """What is told, and the seconds of processor it took."""
    start = time.thread_time()
    with pytest.raises(PlanError) as caught:
        whole_plan(load, lambda name: find_plan(name, [FOLDER]), REGISTRY)
    took_s = time.thread_time() - start
    lines = []
    for problem in caught.value.problems:
        place = f"{problem.line}:{problem.column}: " if problem.line is not None else ""
        lines.append(f"{place}{problem.where}: {problem.message}" if problem.where else f"{place}{problem.message}")
    return lines, took_s


def test_there_are_sixty_of_them() -> None:
    assert len(BAD) + len(LARGE) >= 60
    assert {path.stem for path in BAD} == {path.stem for path in FOLDER.glob("*.expected")}


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_malformed_plan_is_refused_with_everything_at_its_place(path: Path) -> None:
    found, took_s = told(lambda: load_plan(path))
    assert found == path.with_suffix(".expected").read_text("utf-8").splitlines()
    assert took_s < 1.0


@pytest.mark.parametrize("name", LARGE)
def test_a_large_malformed_plan_is_refused_about_as_fast(name: str) -> None:
    make, expected = LARGE[name]
    raw = make()
    found, took_s = told(lambda: read_plan(raw, "plan.yaml"))
    assert found[0].startswith(expected), found[0][:200]
    assert len(found) <= 101
    # A second on a quiet core. Not stricter here: a core shared with other tests does half the work.
    assert took_s < 3.0


ALONE = """
import json, sys, time
from engine.dag.whole import whole_plan
from engine.errors import PlanError
from engine.plan.files import read_plan
from engine.plan.registry import load_task_modules
from tests.fixtures.plans.large import SLOW
raw, registry, start = SLOW[sys.argv[1]][0](), load_task_modules(["tasks"]), time.thread_time()
try:
    whole_plan(lambda: read_plan(raw, "plan.yaml"), None, registry)
except PlanError as error:
    problem = error.problems[0]
took_s = time.thread_time() - start
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
peak_kib = int(status["VmHWM"].split()[0])  # ru_maxrss would be that of the process which started this one
print(json.dumps([problem.line, problem.column, problem.where, problem.message, took_s, peak_kib]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/status is Linux's")
@pytest.mark.parametrize("name", SLOW)
def test_what_only_compiling_can_tell_takes_its_time_and_no_more_than_600_mb(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", ALONE, name], capture_output=True, text=True, check=True, cwd=ROOT)
    line, column, where, message, took_s, peak_kib = json.loads(done.stdout)
    assert f"{line}:{column}: {where}: {message}".startswith(SLOW[name][1])
    assert len(message) < 2_000
    assert took_s < 30.0
    assert peak_kib < 600 * 1024  # 100,000 steps of 22 keys each: of pydantic, 832 bytes for their names alone
