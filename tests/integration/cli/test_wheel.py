"""The wheel, installed where there is no checkout: what ships runs, and a new project beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[3]
_SHADOW = 'raise RuntimeError("a folder of the user stood in for a package of the engine")\n'
_OWN_TASKS = """
from engine.authoring import task

from .words import WORD

@task("own.say", effects="none")
def say() -> str:
    return WORD
"""


class Wheel:
    """The engine installed from its wheel into an environment of its own."""

    def __init__(self, folder: Path) -> None:
        built = folder / "wheel"
        source = folder / "source"
        # A copy of what is tracked: a build leaves nothing in the checkout, and takes nothing stray along.
        files = subprocess.run(["git", "ls-files", "-z"], cwd=_ROOT, capture_output=True, text=True, check=True)
        for name in files.stdout.split("\0"):
            if name and (_ROOT / name).is_file() and not name.startswith("tests/"):
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                (source / name).write_bytes((_ROOT / name).read_bytes())
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
        subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(built), str(source)], check=True)
        venv.create(folder / "env", with_pip=False)
        self.bin = folder / "env" / "bin"
        libraries = next((folder / "env" / "lib").glob("python*/site-packages"))
        (wheel,) = built.glob("*.whl")
        subprocess.run([*pip, "--python", str(self.bin / "python"), "install", "--no-deps", str(wheel)], check=True)
        # The dependencies are those of the environment that tests run in. A line in a .pth file adds no
        # .pth of that folder, so that its editable install of the checkout stays out.
        (libraries / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        self.libraries = libraries

    def call(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        bare = {name: value for name, value in os.environ.items() if not name.startswith(("FLYWHEEL_", "PYTHON"))}
        return subprocess.run(
            [str(self.bin / arguments[0]), *arguments[1:]],
            cwd=folder, env=bare | {"FLYWHEEL_CPU_SLOTS": "1"}, capture_output=True, text=True, timeout=110,
        )  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    return Wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """A folder with packages named as the engine's own are."""
    for name in ("tasks", "settings", "engine", "dags"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(_SHADOW)
    return tmp_path


def test_the_wheel_is_what_runs(wheel: Wheel, crowded: Path) -> None:
    done = wheel.call(crowded, "python", "-P", "-c", "import engine.cli.main, settings; print(settings.__file__)")
    assert done.stdout.startswith(str(wheel.libraries)), done.stderr


def test_the_shipped_plan_runs_from_the_wheel_among_folders_of_the_same_names(wheel: Wheel, crowded: Path) -> None:
    few = json.dumps([str(wheel.libraries)])
    done = wheel.call(crowded, "flywheel", "run", "dependency-audit", "-p", f"site_packages={few}", "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    assert json.loads(done.stdout)["outputs"]["counts"]["distributions"] == 1
    assert (crowded / "reports" / "dependency-audit" / "report.md").is_file()


def test_every_plan_that_ships_holds_from_the_wheel(wheel: Wheel, crowded: Path) -> None:
    done = wheel.call(crowded, "flywheel", "plan", "list", "--json")
    rows = json.loads(done.stdout)["items"]
    assert {row["plan"] for row in rows} >= {"dependency-audit"}
    checked = wheel.call(crowded, "flywheel", "plan", "validate", *(row["plan"] for row in rows))
    assert checked.returncode == 0, checked.stderr
    assert (wheel.libraries / "engine" / "plan" / "plan.schema.json").is_file(), "shipped plans refer to it"


def test_a_new_project_runs_and_its_own_tests_pass(wheel: Wheel, tmp_path: Path) -> None:
    made = wheel.call(tmp_path, "flywheel", "init", "shop")
    assert made.returncode == 0, made.stderr
    project = tmp_path / "shop"
    done = wheel.call(project, "flywheel", "run", "hello", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outputs"] == {"words": 9}
    tested = wheel.call(project, "python", "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert tested.returncode == 0, tested.stdout
    assert "3 passed" in tested.stdout
    again = wheel.call(project, "flywheel", "init")
    assert again.returncode == 2
    assert "nothing was written" in again.stderr


def test_a_folder_of_tasks_called_tasks_is_loaded_by_its_path(wheel: Wheel, tmp_path: Path) -> None:
    own = tmp_path / "tasks"
    own.mkdir()
    (own / "__init__.py").write_text("")
    (own / "words.py").write_text('WORD = "mine"\n')
    (own / "say.py").write_text(_OWN_TASKS)
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "__init__.py").write_text(_SHADOW)
    (tmp_path / ".env").write_text("FLYWHEEL_TASK_MODULES=tasks,./tasks\n")
    (tmp_path / "both.yaml").write_text(
        "name: both\nsteps:\n  own: {task: own.say}\n"
        '  shipped: {task: notify.log, with: {message: "{{ steps.own.output }}"}}\n'
        'outputs: {said: "{{ steps.shipped.output.message }}"}\n'
    )
    done = wheel.call(tmp_path, "flywheel", "run", "both.yaml", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outputs"] == {"said": "mine"}
