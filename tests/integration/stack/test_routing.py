"""A checked step on the real stack: it escalates, what checks found is stored and learned, and operators rate it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from engine.learning.knowledge import Knowledge
from engine.learning.outline import Outline, outline
from engine.store.engines import Database
from engine.store.learned import every_row
from engine.store.ledger import entries
from engine.store.ratings import outcomes
from tests.services.models import Asked, Simulated, SimulatedModels

PLAN = """
name: routed
inputs: {texts: {type: list, default: ["one 7", "two 7", "three 7", "four 7", "five 7", "six 7"]}}
steps:
  read:
    task: llm.extract
    for_each: "{{ inputs.texts }}"
    check: {expression: "output.total == 7"}
    with:
      text: "{{ item }}"
      schema: {type: object, properties: {total: {type: integer}}, required: [total]}
outputs:
  read: "{{ steps.read.output }}"
"""
MODELS = {
    "small": Simulated(pass_rate=0.5, strength=0.6),
    "big": Simulated(strength=0.95, input_usd=10.0, output_usd=40.0),
}


def right(asked: Asked) -> str:
    return '{"total": 7}'


def cli(folder: Path) -> Callable[..., Any]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLYWHEEL_")}
    environment["FLYWHEEL_ECONOMY"] = str(folder / "economy.yaml")

    def run(*said: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "engine.cli.main", *said, "--json"], cwd=folder, capture_output=True,
            text=True, timeout=100, check=False, env=environment,
        )  # fmt: skip
        assert done.returncode == 0, (done.stdout, done.stderr)
        return json.loads(done.stdout)

    return run


def test_what_checks_find_is_stored_learned_and_rated(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)
    run = cli(tmp_path)
    with SimulatedModels(MODELS, answer=right, wrong=lambda asked, right: '{"total": 8}', seed=3) as server:
        (tmp_path / "economy.yaml").write_text(yaml.safe_dump(server.economy()))
        told = run("run", "plan.yaml")
        billed = {name: each.calls for name, each in server.billed.items()}
    read = told["outputs"]["read"]
    assert [each["data"]["total"] for each in read] == [7] * 6
    assert billed["small"] == 6
    assert sum(each["call"]["tries"] for each in read) == sum(billed.values()) > 6, "some of them escalated"
    database = Database(f"sqlite:///{tmp_path / '.flywheel' / 'flywheel.db'}")
    try:
        found = outcomes(database, told["run"])
        assert [each["passed"] for each in found].count(False) == billed["big"]
        assert {each["step_class"] for each in found} == {"routine"}
        knowledge = Knowledge()
        knowledge.load(every_row(database))
        odds = Outline(outline(knowledge)).odds
        assert odds["simulated/small", "routine", "llm.extract"] == (6.0 - billed["big"], float(billed["big"]))
        assert odds["simulated/big", "*", "llm.extract"] == (float(billed["big"]), 0.0)
        run("runs", "rate", told["run"], "read[0]", "0.25", "--note", "not what I meant")
        run("runs", "rate", told["run"], "0.5")
        stored = entries(database, told["run"])
        assert {each.entry.score for each in stored if each.item == 0} == {0.25}
        assert {each.entry.score for each in stored if each.item != 0} <= {0.0, 1.0}
        assert all("why" in each.entry.facts for each in stored)
        by = read[0]["call"]["model"]
        assert {
            each["step"]: each["failure_odds"] for each in run("learned", "show")["items"] if "rated" in each["step"]
        } == {
            f"{by}, routine (rated)": 1.0,
            f"{by}, * (rated)": 1.0,
        }
    finally:
        database.close()
    assert run("runs", "show", told["run"])["ratings"] == [
        {"node": "read[0]", "score": 0.25, "note": "not what I meant"},
        {"node": None, "score": 0.5, "note": ""},
    ]
