"""A run on the real stack whose money does not suffice: it ends partial, says so, and the books agree."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.services.models import Simulated, SimulatedModels

PLAN = """
name: short-of-money
budget: {max_usd: 0.0000001}
steps:
  paid:
    task: llm.complete
    model: simulated/small
    with: {prompt: "What may be lost at any time?"}
  free:
    task: llm.complete
    model: local/extractive
    with: {prompt: "What may be lost?", pieces: [{source: a.md, text: "Redis may be lost at any time."}]}
outputs:
  paid: "{{ steps.paid.output.text }}"
  free: "{{ steps.free.output.text }}"
"""
KEY = "sk-simulated-0123456789abcdef"


@pytest.fixture
def server() -> Any:
    with SimulatedModels({"small": Simulated(strength=0.5, first_token_s=0.05)}, keys={KEY}) as started:
        yield started


def test_a_run_finishes_what_it_can_pay_and_says_what_it_left(server: SimulatedModels, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "economy.yaml").write_text(yaml.safe_dump(server.economy(key="simulated_key", max_parallel=2)))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLYWHEEL_")}
    environment |= {"FLYWHEEL_SECRET_SIMULATED_KEY": KEY, "FLYWHEEL_ECONOMY": str(tmp_path / "economy.yaml")}
    told = subprocess.run(
        [sys.executable, "-P", "-m", "engine.cli.main", "run", "plan.yaml", "--json"], cwd=tmp_path,
        capture_output=True, text=True, timeout=100, check=False, env=environment,
    )  # fmt: skip
    run = json.loads(told.stdout)
    assert run["outputs"]["free"], told.stderr
    assert run["outputs"]["paid"] is None
    assert run["partial"] is True
    assert "the budget of" in run["reason"]
    assert server.calls == 0, "what it cannot pay is never asked"
    with sqlite3.connect(tmp_path / ".flywheel" / "flywheel.db") as database:
        [(reason, figures)] = database.execute("SELECT reason, figures FROM decision WHERE kind = 'budget'")
        ceilings = database.execute("SELECT ceiling_nusd FROM attempt").fetchall()
    assert reason.startswith("stops:") and json.loads(figures)["choice"] == "stop"
    assert ceilings == [(100,), (100,)], "the most each attempt could spend was journaled with it"
