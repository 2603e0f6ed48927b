"""`--max-usd` with `--items`, as people type it: one limit for all items, whatever an item's plan is made of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.services.models import Simulated, SimulatedModels

KEY = "sk-simulated-0123456789abcdef"
ONE = """
name: one-step
inputs: {n: {type: integer, required: true}}
steps:
  ask: {task: llm.complete, model: simulated/small, with: {prompt: "What is {{ inputs.n }}?", max_output_tokens: 100}}
"""
TWO = """
name: two-steps
inputs: {n: {type: integer, required: true}}
steps:
  ask: {task: llm.complete, model: simulated/small, with: {prompt: "What was {{ inputs.n }}?", max_output_tokens: 100}}
  say: {task: notify.log, with: {message: "{{ steps.ask.output.text[:20] }}"}}
"""
ITEMS = 8


class Shop:
    """A stack that runs, a priced model, and items."""

    def __init__(self, folder: Path, server: SimulatedModels) -> None:
        self.folder = folder
        bare = {name: value for name, value in os.environ.items() if not name.startswith("FLYWHEEL_")}
        self.environment = bare | {
            "FLYWHEEL_STOP_GRACE_S": "2", "FLYWHEEL_CPU_SLOTS": "1", "FLYWHEEL_SECRET_SIMULATED_KEY": KEY,
            "FLYWHEEL_ECONOMY": str(folder / "economy.yaml"),
        }  # fmt: skip
        said = server.economy(key="simulated_key", max_parallel=2) | {"budgets": {"wait_s": 1}}
        (folder / "economy.yaml").write_text(yaml.safe_dump(said))
        (folder / "dags").mkdir()
        (folder / "dags" / "one-step.yaml").write_text(ONE)
        (folder / "dags" / "two-steps.yaml").write_text(TWO)
        (folder / "items.jsonl").write_text("".join(f'{{"n": {n}}}\n' for n in range(ITEMS)))

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "engine.cli.main", *arguments], cwd=self.folder, env=self.environment,
            capture_output=True, text=True, timeout=100,
        )  # fmt: skip

    def batch(self, plan: str, *options: str) -> tuple[int, dict[str, Any], str]:
        done = self.call("run", plan, "--items", "items.jsonl", "--json", *options)
        return done.returncode, json.loads(done.stdout or "{}"), done.stderr

    def spent_usd(self) -> float:
        shown = json.loads(self.call("runs", "show", "@last", "--json").stdout)
        return float(shown["budget"]["spent_usd"])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with SimulatedModels({"small": Simulated(strength=0.5, output_tokens=80)}, keys={KEY}) as server:
        made = Shop(tmp_path_factory.mktemp("shop"), server)
        up = made.call("up", "--detach")
        assert up.returncode == 0, up.stderr
        yield made
        made.call("down")


@pytest.mark.parametrize("plan", ["one-step", "two-steps"])
def test_all_items_share_one_limit_and_what_does_not_fit_is_refused(shop: Shop, plan: str) -> None:
    limit = 0.0012  # a call costs 0.00035 at most 0.0005, so that some of the items fit
    code, told, err = shop.batch(plan, "--max-usd", str(limit))
    assert code == 4, err
    assert "nobody knows yet what it will cost" in err
    assert told["partial"] is True
    assert 0 < told["tally"]["OK"] < told["tally"]["TOTAL"]
    spent = shop.spent_usd()
    assert 0 < spent <= limit
    code, told, err = shop.batch(plan, "--max-usd", "1")
    assert (code, told["tally"]["OK"]) == (0, told["tally"]["TOTAL"]), err
    whole = shop.spent_usd()
    assert whole > limit
    code, _, err = shop.batch(plan, "--max-usd", str(limit))
    assert code == 2, "by now it is known what the items cost"
    assert "it is expected to cost" in err and f"more than --max-usd {limit:g}" in err


def test_runs_of_one_item_tell_what_a_batch_will_cost(shop: Shop) -> None:
    source = (shop.folder / "dags" / "two-steps.yaml").read_text().replace("name: two-steps", "name: fresh")
    (shop.folder / "dags" / "fresh.yaml").write_text(source)
    alone = shop.call("run", "fresh", "-p", "n=99")
    assert alone.returncode == 0, alone.stderr
    code, _, err = shop.batch("fresh", "--max-usd", "0.0012")
    assert code == 2, err
    assert "it is expected to cost" in err
