"""`flywheel report` and what `runs show` says of money, on a ledger as workers left it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.api.client import Client
from engine.cli.main import cli
from engine.cli.session import Session
from engine.errors import UsageError
from engine.store.journal import SqlJournal
from settings import Settings, load
from tests.contract.samples import new_run, node_done
from tests.contract.test_ledger import ENTRY, note


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(home=tmp_path / "home", database_url=f"sqlite:///{tmp_path}/flywheel.db")


@pytest.fixture
def run_id(settings: Settings) -> str:
    """A run with a call that was paid and one that a cache answered; the run after it spent nothing."""
    with Client(settings) as client:
        run_id, _ = client.store.submit(new_run())
        client.store.submit(new_run())
        journal = SqlJournal(settings.database_url)
        epoch = journal.acquire(0, "test", 60.0)
        assert epoch is not None
        hit = replace(ENTRY, id="e2", cache="hit", cost_nusd=0, saved_nusd=2_000_000)
        journal.commit(0, epoch, [*node_done(run_id, 1), note(run_id, replace(ENTRY, cost_nusd=3_000_000), hit)])
        journal.close()
    return run_id


def call(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, obj=Session(settings), catch_exceptions=False)


def test_a_run_is_reported_for_people_and_for_programs(settings: Settings, run_id: str) -> None:
    assert "cost $0.003: models $0.003, tools $0" in call(settings, "report", run_id).output
    told = json.loads(call(settings, "report", run_id, "--json").output)
    assert (told["schema"], told["run"], told["total"]["models_usd"]) == ("flywheel.report/1", run_id, 0.003)
    assert told["prices"].startswith("genai-prices")


def test_all_runs_since_a_time_make_a_page_that_stands_alone(settings: Settings, run_id: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert call(settings, "report", "--since", "36500d", "--html", str(page)).exit_code == 0
    text = page.read_text("utf-8")
    assert "openai/gpt-5.4" in text
    assert "http" not in text


def test_a_page_that_cannot_be_written_is_the_users_error(settings: Settings, run_id: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write .*none.*No such file"):
        call(settings, "report", run_id, "--html", str(tmp_path / "none" / "report.html"))


def test_times_are_told_with_their_unit_and_under_no_other(settings: Settings, run_id: str) -> None:
    told = call(settings, "report", run_id).output
    assert "P50" in told and "P50_S" not in told and "SAVED_USD" in told


def test_a_fan_out_is_not_rated_as_a_whole_and_a_note_is_shown_on_one_line(settings: Settings, run_id: str) -> None:
    with pytest.raises(UsageError, match=r"inspect is a fan-out: name one .*inspect\[0\]"):
        call(settings, "runs", "rate", run_id, "inspect", "0.5")
    assert call(settings, "runs", "rate", run_id, "0.5", "--note", "right,\n but long").exit_code == 0
    assert "rated    0.5 (right, but long)" in call(settings, "runs", "show", run_id).output


def test_a_run_is_shown_with_its_cost_where_anything_was_spent(settings: Settings, run_id: str) -> None:
    assert "cost     $0.003 for 1 call, 1 from caches; saved $0.002" in call(settings, "runs", "show", run_id).output
    told = json.loads(call(settings, "runs", "show", "@last", "--json").output)
    assert told["cost"] is None
    assert "cost " not in call(settings, "runs", "show", "@last").output


@pytest.mark.parametrize("wrong", [(), ("@last", "--since", "1d")])
def test_what_a_report_is_of_must_be_said_once(settings: Settings, run_id: str, wrong: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        call(settings, "report", *wrong)
