"""Outcomes of checks and ratings by operators: stored once, told with the run, gone with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.artefacts.store import ArtefactStore
from engine.errors import NotFound, UsageError
from engine.learning.kinds import Kind
from engine.learning.knowledge import Knowledge
from engine.learning.outline import Outline, outline
from engine.scheduling.records import Noted, RunChanged, RunState
from engine.store import retention
from engine.store.journal import SqlJournal
from engine.store.learned import every_row, reset
from engine.store.ledger import entries
from engine.store.ratings import outcomes, rate, ratings
from tests.contract.samples import NOW, node_done
from tests.contract.test_ledger import ENTRY

FOUND: dict[str, Any] = {
    "id": "e1", "at": NOW, "model": "a/m", "task": "llm.extract", "class": "routine", "passed": True, "score": 0.9,
    "by": "schema+judge", "text": "What?\0" * 500,
}  # fmt: skip


def test_an_outcome_is_stored_once_and_short(journal: SqlJournal, epoch: int, run_id: str) -> None:
    noted = Noted(run_id, 1, 0, 1, (("outcome", FOUND), ("outcome", {"id": "broken"})))
    journal.commit(0, epoch, [noted, noted])
    (stored,) = outcomes(journal.database, run_id)
    assert (stored["model"], stored["step_class"], stored["passed"], stored["score"]) == ("a/m", "routine", True, 0.9)
    assert len(stored["text"]) <= 1000


def test_a_rating_of_a_run_needs_no_node_and_the_newest_counts(journal: SqlJournal, run_id: str) -> None:
    rate(journal.database, run_id, 0.2, NOW)
    rate(journal.database, run_id, 0.8, NOW + 1, note="better than I thought")
    assert [(each.score, each.note, each.step_no) for each in ratings(journal.database, run_id)] == [
        (0.2, "", None),
        (0.8, "better than I thought", None),
    ]


def test_a_rating_needs_a_score_in_range_and_a_node_with_a_result(journal: SqlJournal, run_id: str) -> None:
    with pytest.raises(UsageError, match="from 0 to 1"):
        rate(journal.database, run_id, 1.2, NOW)
    with pytest.raises(NotFound, match="no result of that node"):
        rate(journal.database, run_id, 1.0, NOW, step_no=1, item=99)


def test_a_rating_is_an_outcome_of_who_answered_and_one_again_takes_its_place(
    journal: SqlJournal, epoch: int, run_id: str
) -> None:
    answer = replace(ENTRY, id="e1", name="a/m", kind="model", purpose="answer", score=None)
    given = replace(answer, facts={"class": "routine"}).to_json()
    journal.commit(0, epoch, [*node_done(run_id, 1), Noted(run_id, 1, 0, 1, (("ledger", given),))])
    rate(journal.database, run_id, 0.9, NOW, step_no=1, item=0)
    assert told(journal) == {"rated:a/m|routine": (3.0, 0.0), "rated:a/m|*": (3.0, 0.0)}
    rate(journal.database, run_id, 0.2, NOW + 1, step_no=1, item=0)
    assert told(journal) == {"rated:a/m|routine": (0.0, 3.0), "rated:a/m|*": (0.0, 3.0)}
    (stored,) = outcomes(journal.database, run_id)
    assert (stored["by"], stored["passed"], stored["score"], stored["model"]) == ("operator", False, 0.2, "a/m")
    knowledge = Knowledge()
    knowledge.load(every_row(journal.database))
    assert {key[:2]: seen for key, seen in Outline(outline(knowledge)).odds.items()} == {
        ("a/m", "routine"): (0.0, 3.0),
        ("a/m", "*"): (0.0, 3.0),
    }
    reset(journal.database, None, None)
    rate(journal.database, run_id, 1.0, NOW + 2, step_no=1, item=0)
    assert told(journal) == {"rated:a/m|routine": (3.0, 0.0), "rated:a/m|*": (3.0, 0.0)}


def test_a_node_of_a_batch_is_rated_by_its_own_calls_and_shared_ones_have_the_mean(
    journal: SqlJournal, epoch: int, run_id: str
) -> None:
    answer = replace(ENTRY, name="a/m", purpose="many", score=None)
    nodes = {"shared": [[0, 2, 1]], "first": [[0, 0, 1]], "last": [[2, 2, 1]], "before": [[0, 2, 7]]}
    made = [replace(answer, id=name, facts={"nodes": of}).to_json() for name, of in nodes.items()]
    done = [record for item in range(3) for record in node_done(run_id, 1, item)]
    journal.commit(0, epoch, [*done, Noted(run_id, 1, 0, 1, tuple(("ledger", each) for each in made))])
    rate(journal.database, run_id, 0.2, NOW, step_no=1, item=2)
    assert scores(journal, run_id) == {"shared": 0.2, "first": None, "last": 0.2, "before": None}
    rate(journal.database, run_id, 0.8, NOW + 1, step_no=1, item=0)
    rate(journal.database, run_id, 1.0, NOW + 2, step_no=1, item=0)
    assert scores(journal, run_id) == {"shared": pytest.approx(0.6), "first": 1.0, "last": 0.2, "before": None}
    assert {key: sum(both) for key, both in told(journal).items()} == {"rated:a/m|standard": 6.0, "rated:a/m|*": 6.0}


def scores(journal: SqlJournal, run_id: str) -> dict[str, float | None]:
    return {each.entry.id: each.entry.score for each in entries(journal.database, run_id)}


def told(journal: SqlJournal) -> dict[str, tuple[float, float]]:
    """What ratings told, passed and failed, by path."""
    kinds = {row.path: Kind.of(row.facts, row.seen_at) for row in journal.rated()}
    return {path: (round(kind.ok, 3), round(kind.failed, 3)) for path, kind in kinds.items()}


def test_both_go_with_their_run(journal: SqlJournal, epoch: int, run_id: str, tmp_path: Path) -> None:
    ledgered = Noted(run_id, 1, 0, 1, (("outcome", FOUND), ("ledger", replace(ENTRY, score=None).to_json())))
    journal.commit(0, epoch, [ledgered])
    rate(journal.database, run_id, 0.5, NOW)
    assert entries(journal.database, run_id)[0].entry.score is None, "the run's rating is no call's"
    journal.commit(0, epoch, [RunChanged(run_id, RunState.SUCCEEDED, "complete", NOW)])
    retention.prune(journal.database, ArtefactStore(str(tmp_path)), now=NOW + 10, older_than_s=1)
    with pytest.raises(NotFound):
        outcomes(journal.database, run_id)
