"""Forgetting takes what is old or a tenant's own, and nothing that anybody still refers to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from engine.artefacts.store import ArtefactStore
from engine.clock import SystemClock
from engine.costs.entry import Entry
from engine.errors import Conflict, NotFound, UsageError
from engine.scheduling.records import NodeFinished, NodeState, Noted, RunChanged, RunState
from engine.store import engines, exporting
from engine.store.columns import PLAN_VERSION, RUN
from engine.store.journal import SqlJournal
from engine.store.runs import RunStore
from engine.store.tables import METADATA
from tests.contract.samples import NOW, new_run, node_done
from tests.services.postgres import Postgres

DAY_S = 86_400.0


@pytest.fixture
def artefacts(tmp_path: Path) -> ArtefactStore:
    return ArtefactStore(f"file://{tmp_path}/artefacts")


def put_long_ago(artefacts: ArtefactStore, tmp_path: Path, data: bytes) -> str:
    digest = artefacts.put(data)
    path = tmp_path / "artefacts" / digest[:2] / digest[2:]
    os.utime(path, (NOW, NOW))
    return digest


def finish(journal: SqlJournal, epoch: int, run_id: str, digest: str, at: float) -> None:
    result = f'{{"list":[{{"v":1}},{{"ref":"{digest}","bytes":3}}]}}'
    journal.commit(0, epoch, [
        *node_done(run_id, 1),
        NodeFinished(run_id, 0, 0, NodeState.SUCCEEDED, 1, at, result),
        RunChanged(run_id, RunState.SUCCEEDED, "complete", at, outputs='{"v":1}'),
    ])  # fmt: skip


def test_old_runs_go_with_what_only_they_refer_to(
    runs: RunStore, journal: SqlJournal, epoch: int, artefacts: ArtefactStore, tmp_path: Path
) -> None:
    own, shared, loose = (put_long_ago(artefacts, tmp_path, data) for data in (b"own", b"shared", b"loose"))
    fresh = artefacts.put(b"of a running attempt")
    old, other_old, young, unfinished = (runs.submit(new_run(tags=("x",)))[0] for _ in range(4))
    runs.add_command(old, "cancel")
    now = SystemClock().now()
    finish(journal, epoch, old, own, now - 3 * DAY_S)
    finish(journal, epoch, other_old, shared, now - 3 * DAY_S)
    finish(journal, epoch, young, shared, now - 1)

    planned = runs.prune(artefacts, 2 * DAY_S, dry_run=True)
    assert planned.runs == (old, other_old)
    assert (planned.artefacts, artefacts.exists(loose)) == (1, True)

    done = runs.prune(artefacts, 2 * DAY_S)
    assert (done.runs, done.artefacts, done.artefact_bytes) == ((old, other_old), 2, len(b"ownloose"))
    assert {run.id for run in runs.list_runs()} == {young, unfinished}
    assert [artefacts.exists(digest) for digest in (own, loose, shared, fresh)] == [False, False, True, True]
    with pytest.raises(NotFound):
        runs.get(old)
    assert runs.prune(artefacts, 2 * DAY_S).runs == ()


def test_only_states_that_are_final_can_be_pruned(runs: RunStore, artefacts: ArtefactStore) -> None:
    with pytest.raises(UsageError, match="not running"):
        runs.prune(artefacts, 0, states=[RunState.RUNNING])


def test_a_tenant_goes_with_everything_it_owns(
    runs: RunStore, journal: SqlJournal, epoch: int, artefacts: ArtefactStore, tmp_path: Path
) -> None:
    own, shared = put_long_ago(artefacts, tmp_path, b"own"), put_long_ago(artefacts, tmp_path, b"shared")
    mine, mine_too = (runs.submit(new_run(tenant="mine"))[0] for _ in range(2))
    theirs, _ = runs.submit(new_run(tenant="theirs"))
    finish(journal, epoch, mine, own, NOW)
    finish(journal, epoch, theirs, shared, NOW)
    with pytest.raises(Conflict, match=mine_too):
        runs.delete_tenant("mine", artefacts)
    finish(journal, epoch, mine_too, shared, NOW)
    write = {"id": "w", "tenant": "mine", "tags": ["user:7"], "incarnation": "i:1", "stamp": 1, "at": NOW}
    spent = Entry("e", "model", "p/m", cost_nusd=5, at=NOW).to_json()
    journal.commit(0, epoch, [Noted(mine, 0, 0, 1, (("cache_write", write), ("ledger", spent)))])

    assert runs.delete_tenant("mine", artefacts).artefacts == 1
    assert [artefacts.exists(digest) for digest in (own, shared)] == [False, True]
    assert [run.id for run in runs.list_runs()] == [theirs]
    with runs.database.reading("look for traces") as connection:
        for name, table in METADATA.tables.items():
            if "run_id" in table.columns:
                left = select(func.count()).select_from(table).where(table.c.run_id.in_([mine, mine_too]))
                assert connection.scalar(left) == 0, name
            if "tenant" in table.columns:
                left = select(func.count()).select_from(table).where(table.c.tenant == "mine")
                assert connection.scalar(left) == 0, name
        assert connection.scalar(text("SELECT count(*) FROM plan_version")) == 1


def test_the_last_run_of_a_plan_takes_the_plan_with_it(
    runs: RunStore, journal: SqlJournal, epoch: int, artefacts: ArtefactStore
) -> None:
    run_id, _ = runs.submit(new_run())
    finish(journal, epoch, run_id, "0" * 64, NOW)
    runs.prune(artefacts, 0)
    with pytest.raises(NotFound):
        journal.plan_source("v-audit")


def test_an_export_leaves_out_no_table_of_a_run() -> None:
    exported = {RUN.name, PLAN_VERSION.name, *(each.name for each, _ in exporting.ORDER)}
    assert {name for name, table in METADATA.tables.items() if "run_id" in table.columns} <= exported


def test_a_large_run_may_take_longer_to_delete_than_any_statement_else(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "STATEMENT_TIMEOUT_MS", 1000)
    store = RunStore(postgres.new_database())
    run_id = store.submit(new_run())[0]
    slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1.2); RETURN OLD; END'"
    with store.database.writing("make its lines slow to delete") as connection:
        connection.execute(text("INSERT INTO log_line VALUES (:run, 1, 0, 0, 1, 'told')"), {"run": run_id})
        connection.exec_driver_sql(slow)
        connection.exec_driver_sql("CREATE TRIGGER slow BEFORE DELETE ON log_line FOR EACH ROW EXECUTE FUNCTION slow()")
        connection.exec_driver_sql("UPDATE run SET state = 'failed'")
    store.delete(run_id)
    assert store.list_runs() == []
    store.close()
