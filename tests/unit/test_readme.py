"""What the README shows must hold: its plan compiles, its task registers, its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

from engine.dag.compile import compile_plan
from engine.plan.files import load_plan
from engine.plan.registry import load_task_modules

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def example(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_plan_in_the_readme_compiles(tmp_path: Path) -> None:
    file = tmp_path / "read-docs.yaml"
    file.write_text(example("yaml"))
    compiled = compile_plan(load_plan(file), load_task_modules(("tasks",)))
    assert [step.path for step in compiled.steps] == ["find", "read"]


def test_the_task_in_the_readme_registers(tmp_path: Path) -> None:
    file = tmp_path / "readme_tasks.py"
    file.write_text(example("python"))
    assert "tickets.count" in load_task_modules((str(file),)).names()


def test_every_link_of_the_readme_leads_to_a_file() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_readme_fits_on_a_screen_or_two() -> None:
    assert len(README.splitlines()) <= 90
