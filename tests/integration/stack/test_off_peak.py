"""A run whose budget is used up goes on through a provider's batch: handed in once though a worker dies, paid once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import yaml

from engine.cli.paid import cost_lines, cost_row
from engine.hotstate.budgets import RedisBudgets
from engine.ids import ending_run_id
from engine.store.ledger import StoredEntry, entries
from engine.store.spending import paid as paid_in_brief
from tests.services.models import Simulated, SimulatedModels
from tests.services.stack import Stack, until

# The first call fits. The second one's ceiling is above what is left, and at half the price it is not.
PLAN = """
name: patient
inputs: {word: {type: string, required: true}}
deadline: DEADLINE
budget: {max_usd: 0.008, on_exhausted: cheaper}
steps:
  first:
    task: llm.complete
    model: simulated/small
    cache: false
    with: {prompt: What was first?, max_output_tokens: 100}
  second:
    after: [first]
    task: llm.complete
    model: simulated/small
    with: {prompt: "What was second, {{ inputs.word }}?", max_output_tokens: 1000}
outputs: {why: "{{ steps.second.output.call.why }}", text: "{{ steps.second.output.text }}"}
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SimulatedModels, Stack]]:
    models = {"small": Simulated(input_usd=0.1, output_usd=10.0)}
    with SimulatedModels(models, answer=lambda asked: "Said.") as server:
        said = tmp_path_factory.mktemp("off-peak") / "economy.yaml"
        said.write_text(yaml.safe_dump(server.economy(batches=True) | {"budgets": {"off_peak_poll_s": 0.5}}))
        with Stack(economy=said, task_modules=("tasks",)) as stack:
            yield server, stack


@pytest.fixture
def server(started: tuple[SimulatedModels, Stack]) -> SimulatedModels:
    server, _ = started
    server.forget()
    server.batches.made.clear()
    server.batches.polls, server.batches.looked = 1, 0
    server.batches.holding.clear()
    return server


@pytest.fixture
def stack(started: tuple[SimulatedModels, Stack]) -> Stack:
    return started[1]


_WORDS = count()


def submitted(stack: Stack, deadline: str) -> str:
    path: Path = stack.folder / "patient.yaml"
    path.write_text(PLAN.replace("DEADLINE", deadline))
    return stack.client.submit(path, {"word": deadline + str(next(_WORDS))})


def paid(stack: Stack, run_id: str) -> list[StoredEntry]:
    return entries(stack.client.store.database, run_id)


def test_the_rest_of_a_run_goes_through_one_batch_though_its_worker_dies(server: SimulatedModels, stack: Stack) -> None:
    server.batches.hold.clear()
    run_id = submitted(stack, "3d")
    until(server.batches.holding.is_set, 60, "the provider makes the batch")
    stack.io.kill()
    server.batches.hold.set()
    stack.io.start()
    view = stack.ended(run_id, 120)
    assert (view.state, view.partial) == ("succeeded", True), view
    assert len(server.batches.made) == 1
    direct, batch = paid(stack, run_id)
    assert direct.entry.cost_nusd + batch.entry.cost_nusd == server.billed_nusd()
    assert paid_in_brief(stack.client.store.database, run_id).off_peak == 1
    assert batch.entry.settled and batch.entry.cost_nusd == batch.entry.saved_nusd > 0
    assert "off-peak batch" in batch.entry.facts["why"]
    budgets = RedisBudgets(stack.redis.url, stack.settings.namespace)

    def counted() -> tuple[int, int]:
        settled, reserved = (budgets.used([f"run/{run_id}"]) or {})[f"run/{run_id}"]
        return settled.nusd, reserved.nusd

    until(lambda: counted() == (server.billed_nusd(), 0), 60, "what was held for the batch, by two workers, came back")
    budgets.close()


def test_a_run_that_is_cancelled_while_it_waits_ends_its_batch(server: SimulatedModels, stack: Stack) -> None:
    server.batches.polls = 10**6
    run_id = submitted(stack, "3d")
    until(lambda: server.batches.looked >= 2, 60, "the batch is waited for, without a slot")
    told = cost_lines(cost_row(stack.client.store, run_id))
    assert "for 2 calls; 1 estimated; 1 off-peak batch" in told[0]

    def told_why() -> bool:  # a look that is under way has not ended yet
        (node,) = stack.client.store.nodes(run_id, 1)
        return node.error is not None and "off-peak batch" in node.error.message

    until(told_why, 60, "people are told what it waits for")
    stack.client.cancel(run_id)
    assert stack.ended(run_id, 60).state == "cancelled"
    until(lambda: all(each.entry.settled for each in paid(stack, run_id)), 60, "what was held came back")
    (made,) = server.batches.made.values()
    (line,) = [each.entry for each in paid(stack, run_id) if each.entry.id.startswith("batch-")]
    assert (made["status"], line.facts["batch"]) == ("cancelled", made["id"])
    assert stack.ended(ending_run_id(run_id, line.id), 60).state == "succeeded"


def test_a_deadline_within_a_day_leaves_no_time_for_a_batch(server: SimulatedModels, stack: Stack) -> None:
    run_id = submitted(stack, "20h")
    view = stack.ended(run_id, 60)
    assert view.partial and not server.batches.made
    assert {step.path: step.state for step in stack.client.store.steps(run_id)}["second"] == "skipped"
