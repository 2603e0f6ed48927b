"""What an attempt may leave behind: so much, but for what the books need."""

from __future__ import annotations

import pytest

from engine.runtime.masking import Masker
from engine.runtime.worker.notes import NOTES_MAX, Notes


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
