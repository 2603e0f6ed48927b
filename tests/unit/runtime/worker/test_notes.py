"""What an attempt may leave behind: so much, but for what the books need."""

from __future__ import annotations

from typing import Any

import pytest

from engine.runtime.masking import Masker
from engine.runtime.worker.notes import NOTES_MAX, Notes, spans


@pytest.mark.parametrize(("text", "kept"), [("", NOTES_MAX), ("x" * 300_000, 3)])
def test_notes_are_bounded_and_entries_of_books_never_dropped(text: str, kept: int) -> None:
    told: list[str] = []
    notes = Notes(Masker(), told.append)
    for number in range(NOTES_MAX + 100):
        notes.note("outcome", {"id": str(number), "text": text})
        notes.note("ledger", {"id": str(number)})
    notes.note("cache_write", {"id": "w", "tags": ["x" * 2_000_000]})
    kinds = [kind for kind, _ in notes.rest()]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "outcome": kept, "ledger": NOTES_MAX + 100, "cache_write": 1,
    }  # fmt: skip
    assert len(told) == 1 and told[0].startswith("a note (outcome) was dropped")


def test_entries_of_a_shared_invocation_say_whose_calls_they_are() -> None:
    notes, calls = Notes(Masker(), print), [{"text": "same"}, {"text": "same"}, {"text": "same"}]
    notes.share(calls, [(4, 1), (5, 1), (7, 2)])
    entry: dict[str, Any] = {"id": "all", "kind": "model", "facts": {"class": "routine"}}
    notes.note("ledger", entry)
    with notes.serving(calls[1]):
        notes.note("ledger", {"id": "one", "kind": "model"})
        notes.note("ledger", {"id": "tool", "kind": "tool"})
    notes.note("ledger", {"id": "again", "kind": "model"})
    told = {data["id"]: data.get("facts") for _, data in notes.rest()}
    every = [[4, 5, 1], [7, 7, 2]]
    assert told == {
        "all": {"class": "routine", "nodes": every}, "one": {"nodes": [[5, 5, 1]]}, "tool": None,
        "again": {"nodes": every},
    }  # fmt: skip
    assert spans([(3, 1), (1, 1), (2, 1)]) == [[1, 3, 1]]
