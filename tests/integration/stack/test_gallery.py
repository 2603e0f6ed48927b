"""The plans of docs/gallery.md, run as they are written there: small files, a stack that is up."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[3] / "docs" / "gallery.md").read_text("utf-8")
PLANS = {text.split()[1]: text for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)}
FILES = {"a.md": "one\n", "b.md": "two and more\n", "sub/c.md": "", "glossary.md": "words\n", "large.bin": "x" * 5000}


class Folder:
    """A project with a few files in ``docs``, the gallery's plans beside them, and a stack that is up."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name, text in FILES.items():
            (path / "docs" / name).parent.mkdir(parents=True, exist_ok=True)
            (path / "docs" / name).write_text(text)
        for name, text in PLANS.items():
            (path / f"{name}.yaml").write_text(text)

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        bare = {name: value for name, value in os.environ.items() if not name.startswith("FLYWHEEL_")}
        return subprocess.run(
            [sys.executable, "-P", "-m", "engine.cli.main", *arguments], cwd=self.path, capture_output=True, text=True,
            env=bare | {"FLYWHEEL_STOP_GRACE_S": "2", "FLYWHEEL_CPU_SLOTS": "1"}, timeout=100, check=False,
        )  # fmt: skip

    def run(self, plan: str, *inputs: str) -> dict[str, Any]:
        done = self.call("run", f"{plan}.yaml", *(part for pair in inputs for part in ("-p", pair)), "--json")
        assert done.returncode == 0, (done.stdout, done.stderr)
        return dict(json.loads(done.stdout))

    def report(self, name: str) -> str:
        return (self.path / "reports" / "gallery" / name).read_text("utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    made = Folder(tmp_path_factory.mktemp("gallery"))
    up = made.call("up", "--detach")
    assert up.returncode == 0, up.stderr
    yield made
    made.call("down")


def states(told: dict[str, Any]) -> dict[str, str]:
    return {step["step"]: step["state"] for step in told["steps"]}


def test_no_plan_of_the_gallery_is_left_out() -> None:
    assert set(PLANS) == {"inventory", "sizes", "large-files", "fall-back", "compare"}


def test_inventory_lists_the_files(folder: Folder) -> None:
    told = folder.run("inventory")
    assert told["outputs"] == {"count": 4, "report": str(folder.path / "reports/gallery/inventory.json")}
    listed = json.loads(folder.report("inventory.json"))
    assert sorted(file["path"] for file in listed) == ["a.md", "b.md", "glossary.md", "sub/c.md"]


def test_sizes_reads_each_file(folder: Folder) -> None:
    told = folder.run("sizes")
    assert told["partial"] is False
    lines = [line.split() for line in folder.report("sizes.txt").splitlines() if line.strip()]
    assert sorted((int(size), name) for size, name in lines) == sorted(
        (len(text), str(folder.path / "docs" / name)) for name, text in FILES.items() if name.endswith(".md")
    )


def test_sizes_is_partial_if_a_fifth_cannot_be_read(folder: Folder) -> None:
    (folder.path / "more").mkdir()
    for number in range(9):
        (folder.path / "more" / f"{number}.md").write_text("text")
    (folder.path / "more" / "latin.md").write_bytes(b"caf\xe9")
    told = folder.run("sizes", "folder=more")
    assert told["partial"] is True
    assert told["tally"]["FAILED"] == 1
    assert len([line for line in folder.report("sizes.txt").splitlines() if line.strip()]) == 9, (
        "a line for each that could be read"
    )


def test_large_files_warns_only_if_there_are_any(folder: Folder) -> None:
    quiet = folder.run("large-files")
    assert states(quiet) == {"find": "succeeded", "warn": "skipped", "log": "succeeded"}
    assert folder.report("large-files.log") == "warning: skipped"
    assert states(folder.run("large-files", "limit_bytes=4000"))["warn"] == "succeeded"
    assert folder.report("large-files.txt").split() == ["large.bin"]
    assert folder.report("large-files.log") == "warning: succeeded"


def test_fall_back_reads_the_other_file(folder: Folder) -> None:
    told = folder.run("fall-back")
    assert told["outputs"]["path"].endswith("glossary.md")
    assert told["partial"] is True
    first = folder.run("fall-back", "wanted=docs/a.md")
    assert first["outputs"]["path"].endswith("a.md")
    assert (states(first)["other"], first["partial"]) == ("skipped", False)


def test_compare_counts_in_a_plan_of_its_own(folder: Folder) -> None:
    told = folder.run("compare")
    assert "count/find" in states(told)
    assert folder.report("compare.txt") == f"5 files, {sum(map(len, FILES.values()))} bytes in docs"
