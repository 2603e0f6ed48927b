"""Runs that were stored by an engine of another version, tried again."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.api.client import Client
from engine.api.retrying import prepare_rerun
from engine.errors import PlanError
from engine.scheduling.records import RunChanged, RunState
from engine.store.journal import SqlJournal
from settings import load
from tests.contract.samples import NOW, new_run


def test_a_stored_plan_that_holds_no_more_is_told_as_any_plan_is(tmp_path: Path) -> None:
    settings = load(home=tmp_path / "home", database_url=f"sqlite:///{tmp_path}/flywheel.db")
    with Client(settings) as client:
        source = {"name": "audit", "steps": {"find": {"task": "files.find", "was": 1}}}
        run_id, _ = client.store.submit(new_run(plan_source=source))
        journal = SqlJournal(settings.database_url)
        epoch = journal.acquire(0, "test", 60.0)
        assert epoch is not None
        journal.commit(0, epoch, [RunChanged(run_id, RunState.FAILED, "over", NOW)])
        journal.close()
        with pytest.raises(PlanError) as told:
            prepare_rerun(client, run_id)
    assert "was" in str(told.value)
