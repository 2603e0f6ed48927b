"""The JSON Schema: it takes every plan that ships or is shown, and marks what an editor should mark."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

from engine.plan.document import read_yaml
from engine.plan.registry import Registry, load_task_modules
from engine.plan.schema import REGENERATE, plan_schema

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "dags").glob("*.yaml"))


def _shipped_task_types() -> Registry:
    """Without those that other tests register."""
    shipped, known = Registry(), load_task_modules(["tasks"])
    for name in known.names():
        if known.get(name).function.__module__.startswith("tasks."):
            shipped.register(known.get(name))
    return shipped


REGISTRY = _shipped_task_types()
SCHEMA = plan_schema(REGISTRY)


def _validator() -> Any:
    spec = importlib.util.spec_from_file_location("json_schema", Path(__file__).with_name("json_schema.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


problems = _validator().problems


def marked(text: str, schema: dict[str, Any] = SCHEMA) -> list[str]:
    return list(problems(read_yaml(text, "plan.yaml"), schema, schema))


def examples() -> list[tuple[str, str]]:
    """Whole plans in the documentation."""
    found = []
    for page in sorted((ROOT / "docs").glob("**/*.md")):
        for text in re.findall(r"^```yaml\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
            if re.search(r"^name:", text, re.MULTILINE) and re.search(r"^steps:", text, re.MULTILINE):
                found.append((f"{page.name}: {re.search('^name: *(.*)', text, re.MULTILINE)[1]}", text))
    return found


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_plan_fits_and_names_the_schema(path: Path) -> None:
    text = path.read_text("utf-8")
    assert marked(text) == []
    assert marked(text, plan_schema()) == []
    (line,) = re.findall(r"^# yaml-language-server: \$schema=(.*)$", text, re.MULTILINE)
    assert (path.parent / line).resolve() == ROOT / "engine/plan/plan.schema.json"
    assert REGENERATE in text


@pytest.mark.parametrize(("name", "text"), examples(), ids=lambda value: value[:40] if ":" in value else "")
def test_every_plan_in_the_documentation_fits(name: str, text: str) -> None:
    assert marked(text) == []


def test_the_schema_that_is_kept_is_the_one_that_would_be_generated() -> None:
    kept = json.loads((ROOT / "engine/plan/plan.schema.json").read_text("utf-8"))
    assert kept == SCHEMA, f"run: {REGENERATE}"


@pytest.mark.parametrize(
    "text",
    [
        "name: p\nsteps: {a: {task: files.read, with: {path: x}}}\nstep: {}\n",
        "name: p\nsteps: {a: {task: files.read, with: {pth: x}}}\n",
        "name: p\nsteps: {a: {task: files.read}}\n",
        "name: p\nsteps: {a: {task: files.read, with: {path: x, max_bytes: many}}}\n",
        "name: p\nsteps: {a: {task: files.read, with: {path: x}, max_paralel: 3}}\n",
        "name: p\nsteps: {a: {task: files.read, with: {path: x}, join: al}}\n",
        "name: p\nsteps: {a: {task: files.read, with: {path: x}, retry: {attempts: 0}}}\n",
        "name: p\nsteps: {a: {task: files.read, with: {path: x}, timeout: 5 parsecs}}\n",
        "name: p\nsteps: {}\n",
        "steps: {a: {task: my.own}}\n",
    ],
)
def test_what_is_wrong_is_marked(text: str) -> None:
    assert marked(text)


def test_templates_and_a_users_own_task_types_are_taken() -> None:
    assert marked("name: p\nsteps: {a: {task: my.own, with: {anything: [1]}}}\n") == []
    template = "{{ inputs.size }}"
    assert marked(f"name: p\nsteps: {{a: {{task: files.read, with: {{path: x, max_bytes: '{template}'}}}}}}\n") == []
    assert marked(f"name: p\nsteps: {{a: {{task: shell.run, with: {{argv: [ls, '{template}']}}}}}}\n") == []


def test_an_editor_finds_every_task_with_its_arguments_and_texts() -> None:
    offered = [entry["const"] for entry in SCHEMA["$defs"]["Step"]["properties"]["task"]["anyOf"] if "const" in entry]
    assert tuple(offered) == REGISTRY.names()
    assert SCHEMA["$defs"]["with.files.read"]["properties"]["path"]["description"]
    assert SCHEMA["$defs"]["Step"]["properties"]["for_each"]["description"]
