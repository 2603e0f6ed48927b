"""A provider's batch on the real stack: waited for without a slot, made once though a worker dies, and paid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from engine.store.ledger import entries
from tests.services.models import Simulated, SimulatedModels
from tests.services.stack import Stack, until

PLAN = """
name: translate
inputs:
  texts: {type: list, default: ["Text 1.", "Text 2.", "Text 3.", "Text 4."]}
budget: {max_usd: 0.5}
steps:
  submit:
    task: llm.batch_submit
    model: simulated/small
    retry: {attempts: 5}
    with: {items: "{{ inputs.texts }}", instructions: "Translate."}
  collect:
    task: llm.batch_collect
    retry: {attempts: 400, total: 26h}
    with: {batch: "{{ steps.submit.output }}", poll: 0.2}
outputs:
  answers: "{{ steps.collect.output.answers }}"
"""


@pytest.fixture
def server() -> Iterator[SimulatedModels]:
    with SimulatedModels({"small": Simulated()}, answer=lambda asked: str(asked.messages[1]["content"])) as started:
        yield started


@pytest.fixture
def stack(server: SimulatedModels, tmp_path: Path) -> Iterator[Stack]:
    said = tmp_path / "economy.yaml"
    said.write_text(yaml.safe_dump(server.economy(batches=True)))
    with Stack(economy=said, task_modules=("tasks",)) as started:
        yield started


def test_a_worker_that_dies_before_it_says_so_leaves_one_batch(server: SimulatedModels, stack: Stack) -> None:
    server.batches.polls = 3
    server.batches.hold.clear()
    path = stack.folder / "translate.yaml"
    path.write_text(PLAN)
    run_id = stack.client.submit(path)
    until(server.batches.holding.is_set, 60, "the provider makes the batch")
    stack.io.kill()
    server.batches.hold.set()
    stack.io.start()
    view = stack.ended(run_id, 90)
    assert view.state == "succeeded", view
    assert len(server.batches.made) == 1
    assert server.batches.looked > 4, "each look is an attempt of its own"
    (stored,) = entries(stack.client.store.database, run_id)
    assert (stored.entry.settled, stored.entry.cost_nusd) == (True, server.billed_nusd())
    assert stored.entry.cost_nusd == stored.entry.saved_nusd > 0
