"""Work that ends before its time, on the real stack: losers of a race, a goal, samples, a vote, a loop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

RACE = """
name: race
steps:
  quick: {task: shell.run, with: {argv: [sleep, "1"]}}
  a: {task: shell.run, with: {argv: [sleep, "60"]}}
  b: {task: shell.run, with: {argv: [sleep, "60"]}}
  c: {task: shell.run, with: {argv: [sleep, "60"]}}
  done: {task: shell.run, join: first, after: [quick, a, b, c], with: {argv: [echo, won]}}
outputs: {said: "{{ steps.done.output.stdout }}"}
"""
"""A loser that is not stopped would make the test late by a minute."""
TASKS = '''
import time
from engine.authoring import task

@task("early.say", effects="none")
def say(word: str, wait_s: float = 0.0) -> str:
    """The word, after a while."""
    time.sleep(wait_s)
    return word

@task("early.grow", effects="none")
def grow(previous: float) -> float:
    """Half of the way to one."""
    return previous + (1.0 - previous) / 2
'''
GOAL = """
name: goal
goal: steps.near.output == 'found'
steps:
  near: {task: early.say, with: {word: found}}
  far: {task: shell.run, with: {argv: [sleep, "60"]}}
  rest: {task: early.say, with: {word: "{{ steps.far.output.stdout }}"}}
outputs: {near: "{{ steps.near.output }}"}
"""
SAMPLES = """
name: samples
steps:
  enough:
    task: early.say
    for_each: [a, b, c, d, e, f]
    max_parallel: 1
    enough: count >= 2
    with: {word: "{{ item }}"}
  vote:
    task: early.say
    for_each: ["yes", "yes", "no", "yes", "yes", "yes", "yes", "yes", "yes", "yes", "yes"]
    max_parallel: 1
    vote: {ballot: lower(output), min: 3}
    with: {word: "{{ item }}"}
outputs: {some: "{{ steps.enough.output }}", winner: "{{ steps.vote.output.winner }}"}
"""
LOOP = """
name: refined
steps:
  refine:
    plan:
      name: round
      inputs: {previous: {type: number, default: 0.0}}
      steps: {grow: {task: early.grow, with: {previous: "{{ inputs.previous }}"}}}
      outputs: "{{ steps.grow.output }}"
    loop: {enough: {score: output, rounds: 1, gain: 0.2}, max_rounds: 20}
outputs: {rounds: "{{ steps.refine.output.rounds }}", stopped_by: "{{ steps.refine.output.stopped_by }}"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "jobs.py").write_text(TASKS)
    return tmp_path


def run(folder: Path, plan: str) -> dict[str, Any]:
    (folder / "plan.yaml").write_text(plan)
    bare = {name: value for name, value in os.environ.items() if not name.startswith("FLYWHEEL_")}
    told = subprocess.run(
        [sys.executable, "-P", "-m", "engine.cli.main", "run", "plan.yaml", "--json"], cwd=folder, capture_output=True,
        text=True, timeout=100, check=False,
        env=bare | {"FLYWHEEL_TASK_MODULES": "tasks,./jobs.py", "FLYWHEEL_SHELL_ALLOWED": "true"},
    )  # fmt: skip
    assert told.returncode == 0, (told.stdout, told.stderr)
    return dict(json.loads(told.stdout))


def test_the_losers_of_a_race_are_stopped_and_the_record_says_why(folder: Path) -> None:
    begun = time.monotonic()
    told = run(folder, RACE)
    assert time.monotonic() - begun < 55
    assert told["outputs"] == {"said": "won\n"}
    assert not told["partial"]
    states = {step["step"]: (step["state"], step["reason"]) for step in told["steps"]}
    assert states["a"] == ("cancelled", "not needed: the join of done holds without it")


def test_a_run_ends_at_its_goal_with_what_it_has(folder: Path) -> None:
    told = run(folder, GOAL)
    assert told["reason"] == "goal reached: steps.near.output == 'found'"
    assert told["outputs"] == {"near": "found"}
    assert not told["partial"]
    states = {step["step"]: step["state"] for step in told["steps"]}
    assert (states["far"], states["rest"]) == ("cancelled", "skipped")


def test_samples_and_votes_end_when_they_are_settled(folder: Path) -> None:
    told = run(folder, SAMPLES)
    some = told["outputs"]["some"]
    assert some[:2] == ["a", "b"]
    assert some[-1] is None
    assert told["outputs"]["winner"] == "yes"
    vote = next(step for step in told["steps"] if step["step"] == "vote")
    assert vote["succeeded"] < 11
    assert vote["reason"].startswith("enough: ")


def test_a_loop_ends_once_its_rounds_gain_too_little(folder: Path) -> None:
    told = run(folder, LOOP)
    # Half, three quarters, seven eighths: the third round gained an eighth.
    assert told["outputs"] == {"rounds": 3, "stopped_by": "enough"}
    assert not told["partial"]
