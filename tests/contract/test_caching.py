"""What caches kept, in SQL: what may come back to a new Redis, and what is forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.artefacts.store import ArtefactStore
from engine.scheduling.records import AttemptEnded, AttemptKind, Dispatched, Noted, RunChanged, RunState
from engine.store import caching, retention
from engine.store.journal import SqlJournal
from engine.store.runs import RunStore
from engine.wire import Outcome
from tests.contract.samples import NOW, new_run

OLD, NEW = "aaa:1000", "bbb:2000"


def kept(digest: str = "d1", tags: tuple[str, ...] = (), **facts: Any) -> tuple[str, dict[str, Any]]:
    """A note of an entry."""
    told = {"id": f"{digest}-1", "digest": digest, "tenant": "default", "kind": "tool", "name": "users.read"}
    told |= {"incarnation": OLD, "stamp": "5", "body": '{"value":{"v":1}}'}
    return "cache", told | {"tags": list(tags), "made_at": NOW, "expires_at": NOW + 100} | facts


def wrote(tags: tuple[str, ...], incarnation: str = OLD, stamp: int = 6, at: float = NOW) -> tuple[str, dict[str, Any]]:
    """A note of a write."""
    told = {"id": f"w{stamp}", "tenant": "default", "tags": list(tags), "incarnation": incarnation}
    return "cache_write", told | {"stamp": stamp, "at": at}


def live(journal: SqlJournal, now: float = NOW, limit: int = 1 << 20) -> list[str]:
    return [entry.digest for entry in caching.live(journal.database, now, limit)]


def note(journal: SqlJournal, epoch: int, run_id: str, *notes: tuple[str, dict[str, Any]]) -> None:
    journal.commit(0, epoch, [Noted(run_id, 1, 0, 1, notes)])


def test_an_entry_comes_back_as_it_was_until_it_runs_out(journal: SqlJournal, epoch: int, run_id: str) -> None:
    note(journal, epoch, run_id, kept(tags=("t",)), kept(tags=("t",)))
    (entry,) = caching.live(journal.database, NOW, 1 << 20)
    assert (entry.digest, entry.tags, entry.body) == ("d1", ("t",), b'{"value":{"v":1}}')
    assert live(journal, NOW + 101) == []


def test_what_a_write_overtook_does_not_come_back_in_whatever_order_they_are_told(
    journal: SqlJournal, epoch: int, run_id: str
) -> None:
    note(journal, epoch, run_id, wrote(("t",), stamp=6))
    note(journal, epoch, run_id, kept("before", ("t",), stamp=5), kept("after", ("t",), stamp=6), kept("other", ("u",)))
    assert sorted(live(journal)) == ["after", "other"]


def test_a_write_in_a_later_redis_is_later_and_one_in_an_earlier_is_earlier(
    journal: SqlJournal, epoch: int, run_id: str
) -> None:
    note(journal, epoch, run_id, kept("old", ("t",)), kept("new", ("t",), incarnation=NEW, stamp=0, made_at=NOW + 9))
    note(journal, epoch, run_id, wrote(("t",), OLD, 4, NOW - 1))
    assert sorted(live(journal)) == ["new", "old"]
    note(journal, epoch, run_id, wrote(("t",), NEW, 1, NOW + 9))
    assert live(journal) == []


def test_a_write_that_cannot_be_told_to_be_earlier_counts_as_later(
    journal: SqlJournal, epoch: int, run_id: str
) -> None:
    note(journal, epoch, run_id, kept("new", ("t",), incarnation=NEW, stamp=0), wrote(("t",), OLD, 4, NOW + 1))
    assert live(journal) == [], "the clock of the later Redis may be behind"


def test_while_a_write_may_be_unknown_nothing_with_tags_comes_back(
    journal: SqlJournal, epoch: int, run_id: str
) -> None:
    note(journal, epoch, run_id, kept("bare"), kept("tagged", ("t",)))
    journal.commit(0, epoch, [Dispatched(run_id, 2, 0, 1, AttemptKind.PRIMARY, "io", NOW + 1)])
    with journal.database.writing("say what the step does") as connection:
        connection.exec_driver_sql("UPDATE step SET effects = 'external' WHERE step_no = 2")
    assert live(journal) == ["bare"]
    journal.commit(0, epoch, [_ended(run_id, Outcome.OK)])
    assert sorted(live(journal)) == ["bare", "tagged"]


def test_after_a_lost_write_nothing_comes_back_that_was_kept_before(
    journal: SqlJournal, epoch: int, run_id: str
) -> None:
    note(journal, epoch, run_id, kept("before", ("t",)), kept("after", ("t",), made_at=NOW + 500, expires_at=NOW + 900))
    journal.commit(0, epoch, [Dispatched(run_id, 2, 0, 1, AttemptKind.PRIMARY, "io", NOW + 1)])
    with journal.database.writing("say what the step does") as connection:
        connection.exec_driver_sql("UPDATE step SET effects = 'external' WHERE step_no = 2")
    journal.commit(0, epoch, [_ended(run_id, Outcome.LOST)])
    assert live(journal) == ["after"]


def _ended(run_id: str, outcome: Outcome) -> AttemptEnded:
    return AttemptEnded(run_id, 2, 0, 1, outcome, NOW + 2)


def test_the_newest_come_back_first_as_far_as_there_is_room(journal: SqlJournal, epoch: int, run_id: str) -> None:
    size = len('{"value":{"v":1}}')
    note(journal, epoch, run_id, *(kept(f"d{n}", made_at=NOW + n) for n in range(5)))
    assert live(journal, limit=3 * size) == ["d4", "d3", "d2"]


def test_an_artefact_outlives_its_run_as_long_as_an_entry_refers_to_it(
    runs: RunStore, journal: SqlJournal, epoch: int, tmp_path: Path
) -> None:
    run_id, _ = runs.submit(new_run())
    artefacts = ArtefactStore(f"file://{tmp_path}/artefacts")
    digest = artefacts.put(b'"large"')
    body = f'{{"value":{{"ref":"{digest}","bytes":7}}}}'
    note(journal, epoch, run_id, kept(body=body))
    journal.commit(0, epoch, [RunChanged(run_id, RunState.SUCCEEDED, "complete", NOW)])
    days = 86_400.0
    retention.prune(journal.database, artefacts, now=NOW + 50, older_than_s=10, grace_s=0)
    assert artefacts.exists(digest)
    retention.prune(journal.database, artefacts, now=NOW + 100 + 2 * days, older_than_s=10, grace_s=0)
    assert not artefacts.exists(digest)
    assert caching.overview(journal.database, NOW) == []


def test_a_tenants_entries_go_with_it(runs: RunStore, journal: SqlJournal, epoch: int, tmp_path: Path) -> None:
    run_id, _ = runs.submit(new_run())
    note(journal, epoch, run_id, kept("mine"), kept("theirs", tenant="other"))
    journal.commit(0, epoch, [RunChanged(run_id, RunState.SUCCEEDED, "complete", NOW)])
    retention.delete_tenant(journal.database, ArtefactStore(f"file://{tmp_path}"), "default", now=NOW)
    assert live(journal) == ["theirs"]


def test_what_was_kept_is_summed_up_by_tenant_and_name(journal: SqlJournal, epoch: int, run_id: str) -> None:
    note(journal, epoch, run_id, kept("d1"), kept("d2", made_at=NOW + 1), kept("d3", tenant="b"))
    (mine, theirs) = sorted(caching.overview(journal.database, NOW), key=lambda each: -each.entries)
    assert (mine.tenant, mine.name, mine.entries, mine.made_at) == ("default", "users.read", 2, NOW + 1)
    assert (theirs.tenant, theirs.entries) == ("b", 1)
    assert [each.tenant for each in caching.overview(journal.database, NOW, "b")] == ["b"]
    assert caching.forget(journal.database, "b") == 1


def test_an_invalidation_by_an_operator_counts_like_any(journal: SqlJournal, epoch: int, run_id: str) -> None:
    note(journal, epoch, run_id, kept("d1", ("t",)))
    caching.add_write(journal.database, "default", ["t"], OLD, 9, NOW + 1)
    assert live(journal) == []
