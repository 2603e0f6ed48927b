"""What one run teaches the next, on real processes; that it can be looked at, and forgotten."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from engine.hotstate.worker import WorkerHotState
from engine.learning.outline import Outline
from engine.store.learned import every_row
from engine.store.progress import nodes_out
from settings import as_environment
from tests.integration.scale.installation import ROOT, Installation

WIDE = {"many": {"task": "scale.nothing", "for_each": list(range(400)), "with": {"value": "{{ item }}"}}}
BRANCHED = {
    "first": {"task": "scale.nothing"},
    "then": {"task": "scale.nothing", "after": ["first"], "when": "inputs.go"},
}


def call(installation: Installation, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli.main", *arguments],
        env=as_environment(installation.settings) | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout


def learned(installation: Installation, *arguments: str) -> dict[tuple[str, str], dict[str, Any]]:
    shown = json.loads(call(installation, "learned", "show", "--json", *arguments))["items"]
    return {(row["plan"], row["step"]): row for row in shown}


def teach(installation: Installation, *, branches: bool = False) -> None:
    """One run of the wide plan, perhaps four of the branched one; then nobody is left."""
    scheduler, worker = installation.scheduler(), installation.worker()
    installation.ready()
    runs = [installation.submit(WIDE, name="wide")]
    if branches:
        runs += [installation.submit(BRANCHED, name="branched", go=go) for go in (True, True, True, False)]
    for run in runs:
        assert installation.client.wait(run, 60).state.value == "succeeded", installation.said()
    worker.terminate()
    scheduler.terminate()


def test_a_run_teaches_how_the_next_is_sent_until_it_is_forgotten(installation: Installation) -> None:
    teach(installation)
    known = learned(installation)
    assert known["wide", "many"]["bodies"] == known["", ""]["bodies"] == 400
    assert 0 < known["wide", "many"]["p50_s"] <= known["wide", "many"]["p99_s"]
    assert known["wide", "many"]["failure_odds"] < 0.01
    assert known["wide", "many"]["items"] == 400

    # Nobody works now: what is sent at once waits in Redis. Unknown bodies would go out alone, five of them.
    scheduler = installation.scheduler()
    run = installation.submit(WIDE, name="wide")
    installation.wait(lambda: nodes_out(installation.client.store.database, run) == 400)
    assert installation.wait(lambda: installation.hot.queue_lengths(["io"])["io"]) <= 10

    call(installation, "learned", "reset", "--all", "--yes")
    installation.wait(lambda: "learning.reset" in scheduler.said())
    assert every_row(installation.client.store.database) == []


def test_what_is_shown_and_forgotten_can_be_chosen(installation: Installation) -> None:
    teach(installation, branches=True)
    assert learned(installation, "--plan", "branched")["branched", "then"]["condition_odds"] == 0.6667
    assert set(learned(installation, "--plan", "wide")) == {("wide", "many")}
    assert "scale.nothing" in call(installation, "learned", "show", "--task", "scale.nothing")
    plan = installation.settings.home / "branched.yaml"
    plan.write_text(json.dumps({"name": "branched", "inputs": {"go": {"type": "boolean"}}, "steps": BRANCHED}))
    foreseen = json.loads(call(installation, "plan", "preview", str(plan), "--json"))
    assert (foreseen["unknown_durations"], foreseen["at_least"], foreseen["runs"]) == ([], False, 200)
    assert 0 < foreseen["p50_s"] <= foreseen["p90_s"] < 10
    call(installation, "learned", "reset", "--plan", "wide", "--yes")
    assert set(learned(installation)) == {("", ""), ("branched", "first"), ("branched", "then")}
    refused = subprocess.run(
        [sys.executable, "-m", "engine.cli.main", "learned", "reset"],
        env=as_environment(installation.settings) | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "--all" in refused.stderr


def test_workers_are_told_in_brief(installation: Installation) -> None:
    installation.scheduler()
    installation.worker()
    installation.ready()
    installation.client.wait(installation.submit(WIDE, name="wide"), 60)
    hot = WorkerHotState(installation.settings.redis_url or "", installation.settings.namespace)
    try:
        told = installation.wait(lambda: Outline(hot.outline(0) or '{"kinds":[]}').of("wide", "many", "scale.nothing"))
        assert hot.outline(7) is None
    finally:
        hot.close()
    assert told.bodies > 0
    assert 0 < told.typical_s < 1
    assert told.quantiles_s is not None
