"""docs/tasks.md and the docstrings say of each task type what it really takes."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import yaml

from engine.plan.binding import binding_of
from engine.plan.registry import load_task_modules

REGISTRY = load_task_modules(["tasks"])
OURS = [name for name in REGISTRY.names() if REGISTRY.get(name).function.__module__.split(".")[0] == "tasks"]
TEXT = (Path(__file__).parents[3] / "docs/tasks.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## ([a-z_.]+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("name", OURS)
def test_the_reference_has_a_section_with_effects_queue_and_every_argument(name):
    task_type = REGISTRY.get(name)
    row = next(line for line in TEXT.splitlines() if line.startswith(f"| [`{name}`]"))
    assert row.endswith(f"| {task_type.effects} | {task_type.queue} |")
    missing = [argument for argument in binding_of(task_type).parameters if f"`{argument}`" not in SECTIONS[name]]
    if name == "files.read_many":
        missing = [argument for argument in missing if f"`{argument}`" not in SECTIONS["files.read"]]
    assert missing == []


@pytest.mark.parametrize("name", OURS)
def test_the_example_gives_arguments_that_there_are(name):
    docstring = inspect.getdoc(REGISTRY.get(name).function) or ""
    in_docstring = docstring.partition("Examples\n")[2].partition("::")[2]
    for text in (re.search(r"```yaml\n(.*?)```", SECTIONS[name], re.DOTALL)[1], inspect.cleandoc(in_docstring)):
        (step,) = yaml.safe_load(text).values()
        binding = binding_of(REGISTRY.get(name))
        assert step["task"] == name
        given = step.get("with", {}).keys()
        assert binding.required <= given <= binding.parameters.keys()


@pytest.mark.parametrize("name", OURS)
def test_every_argument_is_described_in_the_docstring(name):
    task_type = REGISTRY.get(name)
    docstring = inspect.getdoc(task_type.function) or ""
    undescribed = [
        argument
        for argument in binding_of(task_type).parameters
        if not re.search(rf"^(?:\w+, )*{argument}(?:, \w+)*$", docstring, re.MULTILINE)
    ]
    assert undescribed == []
