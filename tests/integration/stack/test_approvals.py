"""Runs that meet their limit on the real stack: they ask, stop or go on cheaper, and every book says the same."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.services.models import Simulated, SimulatedModels
from tests.services.stack import until

KEY = "sk-simulated-0123456789abcdef"
LITTLE = 0.0000001
"""Dollars that no call's ceiling fits into."""
PLANS = {
    "asks": f"""
budget: {{max_usd: {LITTLE}, on_exhausted: ask}}
steps: {{paid: {{task: llm.complete, model: simulated/small, cache: false, with: {{prompt: What may be lost?}}}}}}
outputs: {{said: "{{{{ steps.paid.output.text }}}}"}}
""",
    "waits": f"""
budget: {{max_usd: {LITTLE}, on_exhausted: ask, ask_timeout: 200ms, on_timeout: THEN}}
steps:
  free: {{task: json.parse, with: {{text: "1"}}}}
  paid: {{task: llm.complete, model: simulated/small, cache: false, with: {{prompt: What may be lost?}}}}
outputs: {{one: "{{{{ steps.free.output }}}}"}}
""",
    # The router guesses four characters a token and takes the dear model; its ceiling, a byte a token, is refused.
    "frugal": """
budget: {max_usd: 0.2, on_exhausted: cheaper}
steps:
  paid:
    task: llm.complete
    quality: 0.8
    cache: false
    with: {prompt: "{{ 'word ' * 800 }}", max_output_tokens: 16}
outputs: {model: "{{ steps.paid.output.call.model }}"}
""",
    "mapped": """
inputs: {words: {type: list, default: [a, b, c, d, e, f]}}
steps:
  each:
    for_each: "{{ inputs.words }}"
    max_parallel: 1
    on_failure: continue
    plan:
      name: one
      inputs: {word: {type: string}}
      steps:
        ask:
          task: llm.complete
          model: simulated/small
          cache: false
          with: {prompt: "{{ inputs.word }}", max_output_tokens: 32}
      outputs: "{{ steps.ask.output.text }}"
    with: {word: "{{ item }}"}
outputs: {said: "{{ steps.each.output }}"}
""",
}


class Installation:
    """A stack that runs, and a provider that bills."""

    def __init__(self, folder: Path, server: SimulatedModels) -> None:
        self.folder, self.server = folder, server
        bare = {name: value for name, value in os.environ.items() if not name.startswith("FLYWHEEL_")}
        self._environment = bare | {
            "FLYWHEEL_SECRET_SIMULATED_KEY": KEY, "FLYWHEEL_ECONOMY": str(folder / "economy.yaml"),
            "FLYWHEEL_STOP_GRACE_S": "2", "FLYWHEEL_CPU_SLOTS": "1",
        }  # fmt: skip
        (folder / "economy.yaml").write_text(yaml.safe_dump(server.economy(key="simulated_key", max_parallel=4)))
        (folder / "dags").mkdir()
        for name, text in PLANS.items():
            (folder / "dags" / f"{name}.yaml").write_text(f"name: {name}{text}")

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "engine.cli.main", *arguments],
            cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip

    def data(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        done = self.call(*arguments, "--json")
        assert done.returncode == code, (done.stdout, done.stderr)
        return dict(json.loads(done.stdout))

    def waiting(self) -> list[str]:
        return [row["run"] for row in self.data("approvals", "list")["items"]]

    def state(self, run: str) -> str:
        with sqlite3.connect(self.folder / ".flywheel" / "flywheel.db") as database:
            return str(database.execute("SELECT state FROM run WHERE id = ?", (run,)).fetchone()[0])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    models = {
        "small": Simulated(strength=0.3),
        "big": Simulated(strength=0.95, input_usd=100.0, cache_read_usd=100.0, output_usd=100.0),
    }
    with SimulatedModels(models, keys={KEY}) as server:
        made = Installation(tmp_path_factory.mktemp("approvals"), server)
        up = made.call("up", "--detach")
        assert up.returncode == 0, up.stderr
        yield made
        made.call("down")


@pytest.fixture
def installation(running: Installation) -> Installation:
    running.server.forget()
    return running


def test_a_run_that_asked_goes_on_once_it_may_spend_more(installation: Installation) -> None:
    run = installation.data("run", "asks", code=3)["run"]
    assert installation.waiting() == [run]
    [row] = installation.data("approvals", "list")["items"]
    assert row["age_s"] >= 0 and row["until"] is None
    assert "for ever" in installation.call("approvals", "list").stdout
    assert "for an answer by now, without a limit of time" in installation.call("runs", "show", run).stdout
    assert installation.server.calls == 0
    approved = installation.data("approvals", "approve", run, "--max-usd", "0.5")
    assert approved["run"] == run
    told = installation.data("runs", "watch", run)
    assert told["outputs"]["said"] and not told["partial"]
    assert installation.server.calls == 1 and installation.waiting() == []
    shown = installation.data("runs", "show", run)
    assert shown["budget"]["max_usd"] == 0.5
    again = installation.call("approvals", "approve", run)
    assert again.returncode == 1 and "has ended" in again.stderr


def test_an_approval_of_the_same_limit_asks_again(installation: Installation) -> None:
    run = installation.data("run", "asks", code=3)["run"]
    installation.data("approvals", "approve", run)
    assert installation.data("runs", "watch", run, code=3)["state"] == "paused"
    refused = installation.call("approvals", "approve", run, "--max-usd", "0")
    assert refused.returncode == 2 and installation.waiting() == [run], refused.stderr
    assert installation.call("runs", "cancel", run).returncode == 0
    assert installation.waiting() == []


def test_a_run_that_was_rejected_stops_and_says_why(installation: Installation) -> None:
    run = installation.data("run", "asks", code=3)["run"]
    installation.data("approvals", "reject", run, "--reason", "not this month")
    told = installation.data("runs", "watch", run, code=4)
    assert told["partial"] and told["outputs"]["said"] is None
    assert installation.server.calls == 0
    assert "not this month" in installation.call("explain", run).stdout
    assert installation.data("runs", "show", run)["budget"]["stopped"]
    again = installation.call("approvals", "reject", run)
    assert again.returncode == 1 and "has ended" in again.stderr


def test_only_a_run_that_asked_is_answered(installation: Installation) -> None:
    assert installation.call("approvals", "approve", "r_none").returncode == 6
    run = installation.data("run", "frugal")["run"]
    done = installation.call("approvals", "approve", run, "--max-usd", "1")
    assert done.returncode == 1 and "has ended" in done.stderr


@pytest.mark.parametrize("then", ["stop", "cheaper"])
def test_nobody_answers_in_time_and_the_plan_says_what_follows(installation: Installation, then: str) -> None:
    (installation.folder / "dags" / f"waits-{then}.yaml").write_text(
        f"name: waits-{then}" + PLANS["waits"].replace("THEN", then)
    )
    run = json.loads(installation.call("submit", f"waits-{then}", "--json").stdout)["run"]
    until(lambda: installation.state(run) not in ("pending", "running", "paused"), 60, "it ends unanswered")
    told = installation.data("runs", "show", run)
    assert told["partial"], told
    assert f"nobody answered in time: {then}" in installation.call("explain", run).stdout
    assert installation.data("runs", "watch", run, code=4)["outputs"] == {"one": 1}
    assert installation.server.calls == 0


def test_a_run_short_of_money_asks_a_cheaper_model(installation: Installation) -> None:
    told = installation.data("run", "frugal")
    assert told["outputs"]["model"] == "simulated/small" and told["partial"]
    assert installation.server.billed["big"].calls == 0
    assert "cheaper" in installation.call("explain", told["run"]).stdout


def test_max_usd_binds_all_runs_below_and_every_book_says_the_same(installation: Installation) -> None:
    done = installation.call("run", "mapped", "--max-usd", "0.0005", "--json")
    assert done.returncode == 4, done.stderr
    assert "nobody knows yet what it will cost; it may spend $0.0005" in done.stderr
    told = json.loads(done.stdout)
    calls = installation.server.calls
    assert told["partial"] and 0 < calls < 6
    assert len([said for said in told["outputs"]["said"] if said]) == calls
    billed = installation.server.billed_nusd()
    assert 0 < billed <= 500_000
    report = installation.data("report", told["run"])
    assert (report["runs"], round(report["total"]["models_usd"] * 1e9)) == (1, billed)
    assert round(installation.data("runs", "show", told["run"])["cost"]["usd"] * 1e9) == billed
    with sqlite3.connect(installation.folder / ".flywheel" / "flywheel.db") as database:
        line = "SELECT sum(cost_nusd) FROM ledger WHERE run_id IN (SELECT id FROM run WHERE id = ? OR parent_run = ?)"
        assert database.execute(line, (told["run"], told["run"])).fetchone() == (billed,)


def test_more_than_max_usd_is_expected_and_nothing_begins(installation: Installation) -> None:
    assert installation.call("run", "mapped", "--max-usd", "1").returncode == 0
    installation.server.forget()
    done = installation.call("submit", "mapped", "--max-usd", "0.0000001")
    assert done.returncode == 2 and "more than --max-usd 1e-07" in done.stderr
    assert installation.server.calls == 0
