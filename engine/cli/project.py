"""The files of a new project, by path; ``NAME`` in them stands for the project's name. Text only."""

from __future__ import annotations

_PLAN = """\
# Counts the words of some texts, one node a text, and says something if there are many.
# `flywheel plan validate hello` checks this file, `flywheel plan graph hello` draws it.
name: hello
description: Counts words.

inputs:
  texts:
    type: list
    default: ["the quick brown fox", "jumps over", "the lazy dog"]
  many:
    type: integer
    default: 8
    description: From so many words on, a warning is logged.

steps:
  count:                                  # fan-out: one node an item
    task: NAME.count_words
    for_each: "{{ inputs.texts }}"
    with: {text: "{{ item }}"}
    retry: {attempts: 3, delay: 1s}       # a failed node is tried again, the others go on

  sum:                                    # waits for every count
    task: NAME.total
    with: {counts: "{{ steps.count.output }}"}

  warn:                                   # a condition: else it is skipped
    task: notify.log
    when: steps.sum.output >= inputs.many
    with: {message: "{{ steps.sum.output }} words", level: warning}

outputs:
  words: "{{ steps.sum.output }}"
"""

_TASKS = '''\
"""Task types of NAME. A task is a typed function: what it is given and what it returns is checked."""

from __future__ import annotations

from engine.authoring import Permanent, TaskContext, task


@task("NAME.count_words", effects="none")
def count_words(text: str, context: TaskContext) -> int:
    """How many words a text has."""
    if not text.strip():
        raise Permanent("the text is empty")  # another try would not help
    context.log.info("counting", characters=len(text))
    return len(text.split())


@task("NAME.total", effects="none")
def total(counts: list[int]) -> int:
    """The sum of some counts."""
    return sum(counts)
'''

_TESTS = '''\
"""A task is a function, and a plan is data: both are tested without Redis and without workers."""

from __future__ import annotations

from pathlib import Path

import pytest
from NAME_tasks import count_words

from engine.authoring import Permanent
from engine.dag.compile import compile_plan
from engine.plan.files import load_plan
from engine.plan.registry import load_task_modules

PROJECT = Path(__file__).resolve().parent.parent


def test_words_are_counted() -> None:
    assert count_words(text="one two  three") == 3


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(Permanent):
        count_words(text=" ")


@pytest.mark.parametrize("file", sorted((PROJECT / "dags").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_plan_holds(file: Path) -> None:
    assert compile_plan(load_plan(file), load_task_modules(["tasks", "NAME_tasks"])).steps
'''

_CONFTEST = '''\
"""Lets tests import this project's modules: after everything installed, so that nothing is hidden."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))
'''

_ENV = """\
# Settings of this project; `flywheel settings --explain` lists all. Variables of the shell win.
# Modules whose task types plans may use: `tasks` are those that ship, the other is this project's own.
FLYWHEEL_TASK_MODULES=tasks,./NAME_tasks.py
"""

_README = """\
# NAME

    flywheel run hello                      runs dags/hello.yaml here and watches it
    flywheel run hello -p 'texts=["a b"]'   with another input
    flywheel runs show @last                what became of it
    pytest                                  tests of the task and of the plan

`dags/` holds the plans, `NAME_tasks.py` the task types, `.env` the settings. The state of runs is in
`.flywheel/`, which may be deleted when nothing of it is wanted any more.

    flywheel up --detach                    keep Redis, a scheduler and workers running
    flywheel submit hello                   hand them a run
    flywheel down
"""

FILES: dict[str, str] = {
    "dags/hello.yaml": _PLAN,
    "{name}_tasks.py": _TASKS,
    "tests/conftest.py": _CONFTEST,
    "tests/test_{name}.py": _TESTS,
    ".env": _ENV,
    ".gitignore": ".flywheel/\n.env.local\n__pycache__/\n.pytest_cache/\n",
    "README.md": _README,
}
