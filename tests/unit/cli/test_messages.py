"""What people are told when they ask for something that does not hold: one message, one exit code, no traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.cli.main import main


@pytest.fixture(autouse=True)
def _project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["rums"], 2, "No such command 'rums'. Did you mean 'runs'?"),
        (["run"], 2, "give a plan, or --resume RUN"),
        (["plan", "show", "dependency-audi"], 6, "dependency-audit"),
        (["plan", "show", "./missing.yaml"], 6, "missing.yaml"),
        (["runs", "show", "@last"], 6, "there is no run yet"),
        (["runs", "show", "r_zzz"], 6, "there is no run yet"),
        (["runs", "list", "--since", "soon"], 2, "'soon' is no duration"),
        (["settings", "colour"], 6, "no setting colour"),
        (["scheduler"], 2, "no Redis: set FLYWHEEL_REDIS_URL, or start a stack with `flywheel up`"),
        (["submit", "dependency-audit", "-p", "nonsense"], 2, "write name=value"),
        (["submit", "dependency-audit", "-p", "site_packages=[oops"], 2, "site_packages"),
        (["submit", "dependency-audit", "-p", "titel=x"], 2, "titel"),
        (["submit", "dependency-audit", "-p", "site_packages=a"], 2, """write -p 'site_packages=["a", "b"]'"""),
        (["submit", "dependency-audit", "--inputs", "no.json"], 2, "cannot read no.json"),
        (["submit", "dependency-audit", "--priority", "9" * 20], 2, "not in the range -1000<=x<=1000"),
        (["run", "dependency-audit", "--max-usd", "abc"], 2, "'abc' is no amount of dollars"),
        (["run", "dependency-audit", "--max-usd", "0"], 2, "a limit on spend is more than $0"),
        (["submit", "dependency-audit", "--max-usd", "-1"], 2, "a limit on spend is more than $0"),
        (["submit", "dependency-audit", "--max-usd", "nan"], 2, "a limit on spend is more than $0"),
        (["submit", "dependency-audit", "--max-usd", "inf"], 2, "at most $1,000,000,000, not inf"),
        (["approvals", "approve", "@last", "--max-usd", "1e12"], 2, "at most $1,000,000,000, not 1e+12"),
        (["approvals", "approve", "r_zzz"], 6, "there is no run yet"),
        (["approvals", "reject", "r_zzz"], 6, "there is no run yet"),
    ],
)
def test_a_users_error_is_one_message(
    arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    told = capsys.readouterr()
    assert says in told.err
    assert "Traceback" not in told.err
    assert told.out == ""


def test_every_problem_of_a_plan_is_listed_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.yaml").write_text(
        "name: bad\nsteps:\n  a: {task: files.reed}\n  b: {task: files.read, retri: 1}\n"
    )
    assert main(["plan", "validate", "bad.yaml"]) == 2
    told = capsys.readouterr().err
    assert "bad.yaml:" in told
    assert "retri" in told


def test_a_bad_setting_stops_the_start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FLYWHEEL_SHARDS", "several")
    assert main(["runs", "list"]) == 2
    assert "FLYWHEEL_SHARDS=several" in capsys.readouterr().err


def test_a_database_that_is_away_is_exit_5(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FLYWHEEL_DATABASE_URL", "postgresql://u:hidden@127.0.0.1:1/none")
    assert main(["runs", "list"]) == 5
    assert "hidden" not in capsys.readouterr().err


def test_a_run_whose_redis_is_away_says_so_while_it_waits(
    _project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLYWHEEL_REDIS_URL", "redis://:hidden@127.0.0.1:1/0")
    monkeypatch.setattr("engine.cli.attending._terminate_like_interrupt", lambda: None)
    (_project / "one.yaml").write_text("name: one\nsteps: {a: {task: files.find, with: {root: .}}}\n")
    assert main(["run", "one.yaml", "--timeout", "0.2"]) == 124
    told = capsys.readouterr().err
    assert "Redis does not answer" in told
    assert "hidden" not in told


def test_settings_are_shown_masked_in_every_form(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLYWHEEL_REDIS_URL", "redis://:hidden@h:1/0")
    for output in ("table", "json", "jsonl", "yaml", "csv"):
        assert main(["settings", "-o", output]) == 0
        shown = capsys.readouterr().out
        assert "hidden" not in shown
        assert "redis_url" in shown


def test_submit_stores_a_run_that_can_be_found_by_a_beginning_of_its_id(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "dependency-audit", "--idempotency-key", "k", "--tag", "nightly"]) == 0
    run_id = capsys.readouterr().out.strip()
    assert main(["submit", "dependency-audit", "--idempotency-key", "k"]) == 0
    assert capsys.readouterr().out.strip() == run_id
    assert main(["runs", "show", run_id[:12], "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["schema"], shown["run"], shown["state"]) == ("flywheel.run/1", run_id, "pending")
    assert main(["runs", "show", "r_zzz"]) == 6
    assert "no run 'r_zzz'" in capsys.readouterr().err
    assert main(["runs", "list", "--tag", "nightly", "-o", "jsonl"]) == 0
    assert json.loads(capsys.readouterr().out)["run"] == run_id
    assert main(["submit", "dependency-audit", "--idempotency-key", "k", "-p", "title=Other"]) == 1
    assert "belongs to run" in capsys.readouterr().err
