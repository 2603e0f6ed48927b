"""Plans with llm steps on the real stack: the stored ledger is the server's bill, and without a key they run too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.store.engines import Database
from engine.store.ledger import entries
from tests.services.models import Asked, Fault, Simulated, SimulatedModels

PLAN = """
name: model-steps
inputs:
  tickets:
    type: list
    default: ["I was charged twice, please refund me", "The app crashed with an error", "Please refund my payment"]
steps:
  sort:
    task: llm.classify
    for_each: "{{ inputs.tickets }}"
    with:
      text: "{{ item }}"
      labels: {billing: payments and refunds, bug: errors and crashes}
  invoice:
    task: llm.extract
    with:
      text: "Invoice of 3 March 2026. Total amount: $12.50"
      schema: {type: object, properties: {total_amount: {type: number}}, required: [total_amount]}
  answer:
    task: llm.complete
    with:
      prompt: "What may be lost at any time?"
      pieces: [{source: design.md, text: "SQL is the truth. Redis may be lost at any time. Workers need a permit."}]
  short:
    task: llm.summarise
    with: {text: "{{ steps.answer.output.text }}", sentences: 2}
  check:
    task: llm.judge
    with: {text: "{{ steps.answer.output.text }}", question: "What may be lost?"}
  vote:
    task: llm.vote
    with: {question: "Is it safe?", choices: [safe, unsafe], pieces: ["It is safe to lose Redis."]}
  vectors:
    task: llm.embed
    with: {texts: ["one two", "three four"]}
outputs:
  labels: "{{ steps.sort.output }}"
  invoice: "{{ steps.invoice.output }}"
  answer: "{{ steps.answer.output }}"
  choice: "{{ steps.vote.output.choice }}"
  short: "{{ steps.short.output.text }}"
  score: "{{ steps.check.output.score }}"
  dimensions: "{{ steps.vectors.output.dimensions }}"
"""
KEY = "sk-simulated-0123456789abcdef"
CALLS = 3 + 1 + 1 + 1 + 1 + 2 + 1


def run(folder: Path, economy: dict[str, Any] | None, **secrets: str) -> dict[str, Any]:
    (folder / "plan.yaml").write_text(PLAN)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLYWHEEL_")} | secrets
    if economy is not None:
        (folder / "economy.yaml").write_text(yaml.safe_dump(economy))
        environment["FLYWHEEL_ECONOMY"] = str(folder / "economy.yaml")
    told = subprocess.run(
        [sys.executable, "-P", "-m", "engine.cli.main", "run", "plan.yaml", "--json"], cwd=folder, capture_output=True,
        text=True, timeout=100, check=False, env=environment,
    )  # fmt: skip
    assert told.returncode == 0, (told.stdout, told.stderr)
    return dict(json.loads(told.stdout))


def ledger(folder: Path, run_id: str) -> list[Any]:
    database = Database(f"sqlite:///{folder / '.flywheel' / 'flywheel.db'}")
    try:
        return entries(database, run_id)
    finally:
        database.close()


def said(asked: Asked) -> str | None:
    if "Classify" in asked.text:
        label = "bug" if "crashed" in asked.prompt or "crashed" in asked.messages[1]["content"] else "billing"
        return json.dumps({"label": label, "confidence": 0.9, "reason": "said so"})
    return '{"total_amount": 12.5}' if "Extract" in asked.text else None


@pytest.fixture
def server() -> Any:
    models = {"small": Simulated(strength=0.5, first_token_s=0.05), "embed": Simulated(output_usd=0.0)}
    with SimulatedModels(models, answer=said, keys={KEY}) as started:
        yield started


def test_the_stored_ledger_is_what_the_server_bills(server: SimulatedModels, tmp_path: Path) -> None:
    server.faults.append(Fault("status", status=429, retry_after="0"))
    told = run(tmp_path, server.economy(key="simulated_key", max_parallel=2), FLYWHEEL_SECRET_SIMULATED_KEY=KEY)
    assert [each["label"] for each in told["outputs"]["labels"]] == ["billing", "bug", "billing"]
    assert told["outputs"]["invoice"]["data"] == {"total_amount": 12.5}
    assert told["outputs"]["dimensions"] == 64
    stored = [each.entry for each in ledger(tmp_path, told["run"])]
    assert sum(entry.cost_nusd for entry in stored) == server.billed_nusd() > 0
    assert sum(entry.usage.input_total for entry in stored) == sum(each.input for each in server.billed.values())
    assert sum(entry.usage.output_total for entry in stored) == sum(each.output for each in server.billed.values())
    assert len(stored) == server.calls == CALLS + 1, "the refused call is in it too"
    assert [entry.outcome for entry in stored].count("failed") == 1
    assert server.peak <= 2
    for path in (tmp_path / ".flywheel").rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


def test_the_same_plan_runs_without_any_key(tmp_path: Path) -> None:
    told = run(tmp_path, None)
    outputs = told["outputs"]
    assert [each["label"] for each in outputs["labels"]] == ["billing", "bug", "billing"]
    assert outputs["invoice"]["data"] == {"total_amount": 12.5}
    assert outputs["answer"]["text"] == "Redis may be lost at any time. [design.md]"
    assert outputs["choice"] == "safe"
    assert outputs["score"] > 0.5
    assert outputs["answer"]["call"]["model"] == "local/extractive"
    assert "no other model has a key" in outputs["answer"]["call"]["why"]
    stored = [each.entry for each in ledger(tmp_path, told["run"])]
    assert len(stored) == CALLS
    assert {entry.name for entry in stored} == {"local/extractive"}
    assert sum(entry.cost_nusd for entry in stored) == 0 < sum(entry.usage.total for entry in stored)
