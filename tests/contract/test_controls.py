"""Queues stay paused until they are resumed, for every scheduler that asks."""

from __future__ import annotations

from engine.store import controls
from engine.store.journal import SqlJournal
from engine.store.runs import RunStore


def test_a_paused_queue_is_paused_once_and_until_it_is_resumed(runs: RunStore, journal: SqlJournal) -> None:
    assert journal.paused_queues() == frozenset()
    for queue in ("io", "cpu", "io"):
        controls.pause_queue(runs.database, queue, 1.0)
    assert journal.paused_queues() == {"io", "cpu"}
    for _ in range(2):
        controls.resume_queue(runs.database, "io")
    assert journal.paused_queues() == {"cpu"}
