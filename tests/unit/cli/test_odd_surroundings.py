"""Full devices, endless files, nobody at the terminal, nothing there yet: one message each, and no traceback."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli.inputs import LIMIT_BYTES
from engine.cli.main import main
from engine.cli.times import span
from engine.cli.workers import unserved

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder to be in, and no settings but the defaults."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("FLYWHEEL_"):
            monkeypatch.delenv(name)
    return tmp_path


def flywheel(*arguments: str, stdout: str) -> subprocess.CompletedProcess[str]:
    with Path(stdout).open("w") as out:
        return subprocess.run(
            [sys.executable, "-P", "-m", "engine.cli.main", *arguments],
            stdout=out, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
        )  # fmt: skip


@needs_full
@pytest.mark.parametrize("arguments", [("--help",), ("settings", "--explain"), ("plan", "list", "--json")])
def test_output_to_a_full_device_is_one_message(arguments: tuple[str, ...]) -> None:
    done = flywheel(*arguments, stdout="/dev/full")
    assert (done.returncode, done.stderr) == (74, "error: cannot write the output: No space left on device\n")


@needs_full
def test_a_full_device_for_both_ends_without_a_word() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "engine.cli.main", "settings"], stdout=full, stderr=full, check=False
        )
    assert done.returncode == 74


READING = [
    "runs list", "runs list --json", "runs show @last", "runs watch @last", "runs logs @last", "runs results @last",
    "runs export @last", "runs diff a b", "runs cancel @last", "runs prune --yes", "queues", "workers", "settings",
    "plan list", "plan show dependency-audit",
]  # fmt: skip


@pytest.mark.parametrize("command", READING)
def test_reading_makes_nothing(command: str, folder: Path) -> None:
    try:
        assert main(command.split()) in (0, 2, 6)
    except SystemExit as ended:
        assert ended.code in (0, 2, 6)
    assert list(folder.iterdir()) == []


def test_a_list_of_no_runs_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "list"]) == 0
    assert capsys.readouterr() == ("", "no runs yet\n")
    assert main(["runs", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == []


def test_pruning_without_a_terminal_names_the_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(["runs", "prune"]) == 2
    told = capsys.readouterr().err
    assert "--yes" in told
    assert "older than 30d?" in told
    assert "interrupted" not in told


def test_who_says_no_to_pruning_deletes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    with pytest.raises(SystemExit) as ended:
        main(["runs", "prune"])
    assert ended.value.code == 130
    assert "nothing was deleted" in capsys.readouterr().err


def test_whole_days_are_told_as_such() -> None:
    assert (span(30 * 86400.0), span(30 * 86400.0 + 3600)) == ("30d", "30d01h")


def test_a_settings_file_that_is_a_folder_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / ".env").mkdir()
    assert main(["settings"]) == 2
    assert f"{folder}/.env is a folder" in capsys.readouterr().err


def test_plan_folders_that_are_not_there_are_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "mine").mkdir()
    monkeypatch.setenv("FLYWHEEL_PLAN_PATHS", "dags,mine,nowhere")
    assert main(["plan", "list"]) == 0
    assert capsys.readouterr().err == f"warning: FLYWHEEL_PLAN_PATHS names {folder}/nowhere, which is no folder\n"


def test_a_database_that_is_none_is_named_with_what_to_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / ".flywheel" / "flywheel.db"
    file.parent.mkdir()
    file.write_bytes(b"no database" * 1000)
    assert main(["runs", "list"]) == 5
    told = capsys.readouterr().err
    assert str(file) in told
    assert "backup" in told
    assert file.read_bytes().startswith(b"no database"), "it is left as it was"


@pytest.mark.parametrize("how", [("-p", "title=@{}"), ("--inputs", "{}")])
def test_inputs_are_read_up_to_a_limit(how: tuple[str, str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (folder / "huge").open("wb") as huge:
        huge.truncate(LIMIT_BYTES + 1)
    for file in ("/dev/zero", "huge"):
        assert main(["submit", "dependency-audit", how[0], how[1].format(file)]) == 2
        assert "larger than 32 MiB" in capsys.readouterr().err


def test_a_worker_that_leaves_tells_the_queues_it_leaves_alone() -> None:
    serving = {"io.1": ("io", "gpu"), "io.2": ("io",), "io.3": ()}
    assert unserved("io.1", serving) == ["gpu"]
    assert unserved("io.2", serving) == []
    assert unserved("io.3", serving) == []


@pytest.mark.parametrize("arguments", [("run", "any"), ("up",), ("worker",), ("scheduler",)])
def test_what_an_installation_says_of_money_is_read_before_anything_starts(
    arguments: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "economy.yaml").write_text("budgets: {run: {max_usd: -3}}\n")
    monkeypatch.setenv("FLYWHEEL_ECONOMY", "economy.yaml")
    if arguments[0] in ("worker", "scheduler"):
        monkeypatch.setenv("FLYWHEEL_REDIS_URL", "redis://127.0.0.1:9/0")
    done = flywheel(*arguments, stdout=os.devnull)
    assert done.returncode == 2, done.stderr
    assert "budgets.run.max_usd: Input should be greater than 0" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(folder.glob(".flywheel/logs/*.log")), "nothing was started"
