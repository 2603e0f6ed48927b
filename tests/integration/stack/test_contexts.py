"""Contexts on the real stack: large sources begin with a summary, which is made once; files are read ahead."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from engine.store.ledger import entries
from tests.services.models import Simulated, SimulatedModels
from tests.services.stack import Stack, until

PLAN = """
name: contexts
steps:
  first:
    task: context.assemble
    with: {question: "Where is the banana?", sources: [{path: big.md}], max_tokens: 800, summarise: true}
  second:
    task: context.assemble
    after: [first]
    with: {question: "Where is the banana?", sources: [{path: big.md}], max_tokens: 900, summarise: true}
outputs:
  first: "{{ steps.first.output }}"
  second: "{{ steps.second.output }}"
"""
AHEAD = """
name: ahead
inputs: {begun: {}, release: {}}
steps:
  ask:
    task: scale.until
    with: {begun: "{{ inputs.begun }}", release: "{{ inputs.release }}"}
  gather:
    task: context.assemble
    with: {question: "Where is the banana, {{ steps.ask.output }}?", sources: [{path: read.md}], max_tokens: 800}
outputs:
  gather: "{{ steps.gather.output }}"
"""
SUMMARY = "All of it is about rooms in a house, and one banana."


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatedModels]:
    with SimulatedModels({"small": Simulated(strength=0.9)}, answer=lambda asked: SUMMARY) as started:
        yield started


@pytest.fixture(scope="module")
def stack(server: SimulatedModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("contexts")
    said, files = folder / "economy.yaml", folder / "files"
    said.write_text(yaml.safe_dump(server.economy()))
    files.mkdir()
    rooms = [f"# Room {number}\n\nThe room {number} has a table and {number} chairs.\n" for number in range(600)]
    for name in ("big.md", "read.md"):
        (files / name).write_text("\n".join([*rooms, "# Kitchen\n\nA banana is on the table."]))
    modules = ("tasks", "tests.integration.scale.bodies")
    with Stack(economy=said, task_modules=modules, file_roots=(files,)) as started:
        yield started


def test_a_large_file_is_summarised_once_for_all_that_read_it(server: SimulatedModels, stack: Stack) -> None:
    path = stack.folder / "contexts.yaml"
    path.write_text(PLAN)
    run_id = stack.client.submit(path)
    view = stack.ended(run_id, 90)
    assert view.state == "succeeded", view
    outputs = stack.client.outputs(run_id)
    for name in ("first", "second"):
        pieces = [(piece["source"], piece["text"]) for piece in outputs[name]["pieces"]]
        assert ("big.md (summary)", SUMMARY) in pieces
        assert any("A banana is on the table" in text for source, text in pieces if source == "big.md")
    assert server.calls == 1, "the second context finds the summary in the cache"
    stored = [each.entry for each in entries(stack.client.store.database, run_id) if each.entry.purpose == "summary"]
    assert [entry.cache for entry in stored] == ["miss", "hit"]
    assert stored[1].saved_nusd == stored[0].cost_nusd == server.billed_nusd() > 0


def test_a_context_is_read_for_while_the_step_that_asks_still_runs(stack: Stack) -> None:
    path = stack.folder / "ahead.yaml"
    path.write_text(AHEAD)
    release = stack.folder / "go"
    run_id = stack.client.submit(path, {"begun": str(stack.folder / "begun"), "release": str(release)})
    until(lambda: stack.redis.client.keys("*:ahead:*"), 60, "what was read ahead")
    # Whoever reads from here on finds no such file.
    (stack.settings.file_roots[0] / "read.md").unlink()
    release.touch()
    view = stack.ended(run_id, 60)
    assert view.state == "succeeded", view
    pieces = stack.client.outputs(run_id)["gather"]["pieces"]
    assert any("A banana is on the table" in piece["text"] for piece in pieces)
    told = [each.reason for each in stack.client.store.decisions(run_id) if each.kind == "prefetch"]
    assert [reason.split(":")[0] for reason in told] == ["started", "used", "1 of 1 prefetches were used"]
