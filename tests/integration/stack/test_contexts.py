"""Contexts on the real stack: large sources begin with a summary, which is made once; files are read ahead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from engine.store.ledger import entries
from tests.services.models import Simulated, SimulatedModels
from tests.services.stack import Stack

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
SUMMARY = "All of it is about rooms in a house, and one banana."


@pytest.fixture
def server() -> Iterator[SimulatedModels]:
    with SimulatedModels({"small": Simulated(strength=0.9)}, answer=lambda asked: SUMMARY) as started:
        yield started


@pytest.fixture
def stack(server: SimulatedModels, tmp_path: Path) -> Iterator[Stack]:
    said = tmp_path / "economy.yaml"
    said.write_text(yaml.safe_dump(server.economy()))
    (tmp_path / "files").mkdir()
    rooms = [f"# Room {number}\n\nThe room {number} has a table and {number} chairs.\n" for number in range(600)]
    (tmp_path / "files" / "big.md").write_text("\n".join([*rooms, "# Kitchen\n\nA banana is on the table."]))
    with Stack(economy=said, task_modules=("tasks",), file_roots=(tmp_path / "files",)) as started:
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
