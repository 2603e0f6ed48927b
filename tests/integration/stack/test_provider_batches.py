"""A provider's batch on the real stack: waited for without a slot, made once though a worker dies, and paid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from engine.ids import ending_run_id
from engine.store.ledger import StoredEntry, entries
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
    with Stack(economy=said, task_modules=("tasks",), shell_allowed=True) as started:
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


PRUNED = """
name: first-wins
inputs:
  texts: {type: list, default: ["Text 1.", "Text 2.", "Text 3.", "Text 4."]}
steps:
  submit:
    task: llm.batch_submit
    model: simulated/small
    with: {items: "{{ inputs.texts }}", instructions: "Translate."}
  collect:
    task: llm.batch_collect
    retry: {attempts: 400, total: 26h}
    with: {batch: "{{ steps.submit.output }}", poll: 0.2}
  other:
    after: [submit]
    task: text.render
    with: {template: enough}
  first:
    after: [collect, other]
    join: first
    task: text.render
    with: {template: done}
  later:
    after: [first]
    task: shell.run
    with: {argv: [sleep, "600"]}
outputs:
  done: "{{ steps.first.output }}"
"""


def waiting_batch(server: SimulatedModels, stack: Stack, plan: str = PLAN) -> str:
    """A run whose batch is made and, but for a pruned branch, was looked at twice: it waits between two attempts."""
    server.batches.polls, server.batches.answered = 10**6, 3
    path = stack.folder / "plan.yaml"
    path.write_text(plan)
    run_id = stack.client.submit(path)
    until(lambda: server.batches.made and (plan is PRUNED or server.batches.looked >= 2), 60, "the batch is waited for")
    return run_id


def paid(stack: Stack, run_id: str) -> StoredEntry:
    """The line of the run's batch, once it is settled."""
    database = stack.client.store.database
    return until(lambda: [each for each in entries(database, run_id) if each.entry.settled], 60, "it is settled")[0]


def check_ended(server: SimulatedModels, stack: Stack, run_id: str) -> None:
    """The provider was told to end the batch, and three of its four answers are paid by the run that made it."""
    stored = paid(stack, run_id)
    (made,) = server.batches.made.values()
    assert made["status"] == "cancelled"
    assert stored.entry.cost_nusd == server.billed_nusd() > 0
    assert (stored.entry.facts["items"], stored.entry.facts["failed"], stored.step_no) == (4, 1, 0)
    ending = ending_run_id(run_id, stored.entry.id)
    assert stack.ended(ending, 30).state == "succeeded"
    assert entries(stack.client.store.database, ending) == [], "it is no line of two runs"
    assert stack.client.run(ending).tags == (f"ends:{run_id}",)


def test_a_cancelled_run_ends_its_batch_though_no_worker_holds_it(server: SimulatedModels, stack: Stack) -> None:
    run_id = waiting_batch(server, stack)
    stack.client.cancel(run_id)
    assert stack.ended(run_id, 60).state == "cancelled"
    check_ended(server, stack, run_id)


def test_a_batch_is_ended_though_scheduler_and_workers_died_after_the_cancel(
    server: SimulatedModels, stack: Stack
) -> None:
    run_id = waiting_batch(server, stack)
    stack.io.kill()
    stack.client.cancel(run_id)
    assert stack.ended(run_id, 60).state == "cancelled"
    stack.scheduler.kill()
    assert next(iter(server.batches.made.values()))["status"] == "in_progress"
    stack.scheduler.start()
    stack.io.start()
    check_ended(server, stack, run_id)


def test_the_batch_of_a_pruned_branch_is_ended_while_its_run_goes_on(server: SimulatedModels, stack: Stack) -> None:
    run_id = waiting_batch(server, stack, PRUNED)
    check_ended(server, stack, run_id)
    assert stack.client.run(run_id).state == "running"


def test_a_batch_whose_worker_died_before_it_said_so_is_found_and_ended(server: SimulatedModels, stack: Stack) -> None:
    server.batches.polls, server.batches.answered = 10**6, 3
    server.batches.hold.clear()
    path = stack.folder / "plan.yaml"
    path.write_text(PLAN)
    run_id = stack.client.submit(path)
    until(server.batches.holding.is_set, 60, "the provider makes the batch")
    stack.io.kill()
    server.batches.hold.set()
    stack.client.cancel(run_id)
    assert stack.ended(run_id, 60).state == "cancelled"
    stack.io.start()
    check_ended(server, stack, run_id)
