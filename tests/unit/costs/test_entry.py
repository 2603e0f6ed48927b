"""A ledger entry on its way: the same after a journey as JSON."""

from __future__ import annotations

import json

import pytest

from engine.costs.entry import Entry
from engine.costs.usage import Usage


def test_an_entry_comes_back_from_json_as_it_was() -> None:
    entry = Entry(
        id="e1", kind="model", name="openai/gpt-5.4", provider="openai", purpose="answer",
        usage=Usage(1, 2, 3, 4, 5, 6), cost_nusd=12, saved_nusd=-3, at=1.5, queue_s=0.1, call_s=2.5, first_token_s=0.4,
        cache="miss", settled=False, outcome="cut", context_tokens=9, cited_tokens=0, score=0.0, facts={"seed": 1},
    )  # fmt: skip
    assert Entry.from_json(json.loads(json.dumps(entry.to_json()))) == entry


def test_an_entry_says_only_what_is_not_usual() -> None:
    assert Entry("e1", "tool", "http.get").to_json() == {"id": "e1", "kind": "tool", "name": "http.get"}


def test_what_a_newer_engine_says_is_passed_over() -> None:
    assert Entry.from_json({"id": "e1", "kind": "tool", "name": "x", "mood": 1}) == Entry("e1", "tool", "x")


@pytest.mark.parametrize("wrong", [{"kind": "x"}, {"cache": "x"}, {"outcome": "x"}, {"cost_nusd": -1}])
def test_an_entry_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="entry e1"):
        Entry.from_json({"id": "e1", "kind": "tool", "name": "x"} | wrong)


def test_an_entry_without_an_id_is_refused() -> None:
    with pytest.raises(ValueError, match="no ledger entry"):
        Entry.from_json({"kind": "tool", "name": "x"})
