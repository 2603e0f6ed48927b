"""What the documentation says must hold: references are current, links lead somewhere, plans in it compile."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from engine.dag.compile import compile_plan
from engine.plan.files import load_plan
from engine.plan.registry import load_task_modules

ROOT = Path(__file__).parents[2]
PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md"))
MINE = [ROOT / "docs" / name for name in ("tutorial.md", "operations.md", "guarantees.md")]
MINE += sorted((ROOT / "docs" / "how-to").glob("*.md"))


def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["commands.md", "settings.md"])
def test_the_reference_is_what_the_code_says(name: str) -> None:
    written = (ROOT / "docs" / "reference" / name).read_text("utf-8")
    assert written == reference().PAGES[name](), "run scripts/reference"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


def _blocks(language: str) -> list[tuple[Path, str]]:
    return [
        (page, block)
        for page in MINE
        for block in re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    ]


def test_every_whole_plan_in_the_docs_compiles(tmp_path: Path) -> None:
    modules = [
        str(_written(tmp_path, number, text)) for number, (_, text) in enumerate(_blocks("python")) if "@task(" in text
    ]
    registry = load_task_modules(["tasks", *modules])
    plans = [(page, text) for page, text in _blocks("yaml") if text.startswith("name:")]
    assert plans
    for page, text in plans:
        file = tmp_path / "plan.yaml"
        file.write_text(text)
        assert compile_plan(load_plan(file), registry).steps, page


def _written(folder: Path, number: int, text: str) -> Path:
    file = folder / f"docs_tasks_{number}.py"
    file.write_text(text)
    return file


def test_every_command_in_the_docs_is_one() -> None:
    from engine.cli.main import COMMANDS

    for page in MINE:
        named = set(re.findall(r"^\s*(?:[A-Z_]+=\S+ )?flywheel ([a-z]+)", page.read_text("utf-8"), re.MULTILINE))
        assert named <= COMMANDS.keys(), f"{page}: {named - COMMANDS.keys()}"
